"""The local page: the interactive view over HTTP, for people on this machine (or, when told so, on the network)."""

from vitscope.web.server.run import listening, serve
from vitscope.web.server.settings import Settings

__all__ = ["Settings", "listening", "serve"]
