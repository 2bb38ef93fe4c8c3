"""A real JupyterLab on loopback with one notebook, opened in Chromium; the same kernel can also be asked from here."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NAME = "view.ipynb"
#: Widgets are saved with the notebook, and JupyterLab asks nobody outside for news.
SETTINGS = {
    "@jupyter-widgets/jupyterlab-manager:plugin": {"saveState": True},
    "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},  # a view out of sight stays in the page
}
PAGE = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True, "@jupyterlab/extensionmanager-extension": True}}


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab."""

    folder: Path
    address: str
    token: str

    @property
    def url(self) -> str:
        """Where the notebook is."""
        return f"{self.address}lab/tree/{NAME}?token={self.token}"

    @property
    def saved(self) -> dict[str, Any]:
        """The notebook as it lies on disk."""
        return json.loads((self.folder / NAME).read_text())


@contextmanager
def jupyter_lab(folder: Path, *cells: str) -> Iterator[Lab]:
    """JupyterLab over a folder of its own, which gets a notebook of these cells; nothing of the user's settings is seen or changed."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    work, home = folder / "work", folder / "home"
    for part in (work, home / "config/labconfig", home / "lab-settings"):
        part.mkdir(parents=True)
    (work / NAME).write_text(json.dumps(notebook(cells)))
    (home / "config/labconfig/page_config.json").write_text(json.dumps(PAGE))
    for plugin, settings in SETTINGS.items():
        name, part = plugin.split(":")
        (home / "lab-settings" / name).mkdir(parents=True)
        (home / "lab-settings" / name / f"{part}.jupyterlab-settings").write_text(json.dumps(settings))
    token = secrets.token_hex(16)
    places = {
        "HOME": home, "JUPYTER_CONFIG_DIR": home / "config", "JUPYTER_DATA_DIR": home / "data", "JUPYTER_RUNTIME_DIR": home / "runtime",
        "IPYTHONDIR": home / "ipython", "JUPYTERLAB_SETTINGS_DIR": home / "lab-settings", "JUPYTERLAB_WORKSPACES_DIR": home / "workspaces",
    }  # fmt: skip
    options = [
        "--no-browser", "--allow-root", "--expose-app-in-browser", "--ip=127.0.0.1", "--port=0", f"--ServerApp.root_dir={work}",
        f"--IdentityProvider.token={token}",
    ]  # fmt: skip
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options],
            stdout=log,
            stderr=log,
            cwd=work,
            env={**os.environ, **{name: str(place) for name, place in places.items()}},
        )
        try:
            yield Lab(work, _address(home / "runtime", server, home / "log"), token)
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()


def notebook(cells: tuple[str, ...]) -> dict[str, Any]:
    """A notebook of these cells, none of them run."""
    made = [
        {"cell_type": "code", "id": f"cell-{i}", "metadata": {}, "source": c, "outputs": [], "execution_count": None}
        for i, c in enumerate(cells)
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return {"cells": made, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _address(runtime: Path, server: subprocess.Popen[bytes], log: Path) -> str:
    """Where the server listens, once it does."""
    end = time.monotonic() + 60
    while time.monotonic() < end and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            try:
                return json.loads(path.read_text())["url"]
            except (json.JSONDecodeError, KeyError):
                pass  # still being written
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start: {log.read_text()[-2000:]}")


class Kernel:
    """The notebook's own kernel, asked from outside the browser."""

    def __init__(self, lab: Lab) -> None:
        from jupyter_client import BlockingKernelClient

        [connection] = (lab.folder.parent / "home/runtime").glob("kernel-*.json")
        self.client = BlockingKernelClient(connection_file=str(connection))
        self.client.load_connection_file()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def value(self, expression: str) -> Any:
        """What a Python expression is there, as JSON."""
        reply = self.client.execute_interactive(
            "", user_expressions={"value": f"__import__('json').dumps({expression})"}, timeout=60, silent=True, store_history=False
        )
        found = reply["content"]["user_expressions"]["value"]
        assert found["status"] == "ok", found
        text = found["data"]["text/plain"]
        return json.loads(__import__("ast").literal_eval(text))

    def run(self, code: str, *, wait: bool = True) -> None:
        """Run code there; without waiting, the kernel is busy with it."""
        if wait:
            reply = self.client.execute_interactive(code, timeout=60, store_history=False)
            assert reply["content"]["status"] == "ok", reply["content"]
        else:
            self.client.execute(code, store_history=False)

    def close(self) -> None:
        """Leave the kernel running."""
        self.client.stop_channels()
