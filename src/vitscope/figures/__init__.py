"""Static pictures, for papers and slides: one photo with its maps side by side, or what a state of the interactive view shows."""

from vitscope.figures.picture import write_png
from vitscope.figures.scene import write_scene

__all__ = ["write_png", "write_scene"]
