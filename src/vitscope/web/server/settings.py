"""What one server was told on the command line."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from vitscope.errors import ArgumentError

#: What a photo file may weigh, how many pixels it may have, and what is kept in memory, where nobody said otherwise.
UPLOAD_BYTES = 64_000_000
PIXELS = 64_000_000
CACHE_BYTES = 512_000_000

#: Names of this machine that any server answers to.
LOOPBACK = ("127.0.0.1", "localhost", "::1")

#: Addresses that mean "every network this machine is on".
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - named in order to be refused


@dataclass(frozen=True)
class Settings:
    """Where to listen, whom to answer, and how much to take in.

    Attributes:
        host, port: address to listen on; port 0 is any free one.
        allow: further names that people may reach this server by (a proxy's, this machine's on the network).
        roots: folders whose photos may be opened from the page.
        upload_bytes, pixels: largest photo taken in.
        cache_bytes: what the numbers kept in memory may take; only said here, kept to by the ``compute`` object.
        open_browser: open the page in the browser of this machine.
    """

    host: str = "127.0.0.1"
    port: int = 0
    allow: tuple[str, ...] = ()
    roots: tuple[Path, ...] = ()
    upload_bytes: int = UPLOAD_BYTES
    pixels: int = PIXELS
    cache_bytes: int = CACHE_BYTES
    open_browser: bool = False
    quiet: bool = False

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    @property
    def names(self) -> frozenset[str]:
        """Host names answered to, in lower case."""
        own = () if self.host in EVERYWHERE else (self.host,)
        return frozenset(name.lower().strip("[]") for name in (*LOOPBACK, *own, *self.allow))

    def check(self) -> None:
        """Refuse what would not be safe, or would answer nobody.

        Raises:
            ArgumentError: every network without a name people may use; a root that is no folder.
        """
        if self.host in EVERYWHERE and not self.allow:
            raise ArgumentError(
                f"--host {self.host} listens on every network",
                expected="the names people will type",
                todo="add --allow-host NAME, or keep 127.0.0.1 and use an SSH tunnel",
            )
        for name in self.allow:
            if not name or any(sign in name for sign in "/*@ "):
                raise ArgumentError(f"--allow-host {name!r}", expected="one host name, without http:// and port")
        for root in self.roots:
            if not root.is_dir():
                raise ArgumentError(f"no folder {root}", expected="an existing folder", where="--root")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
