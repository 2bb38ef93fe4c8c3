"""Static pictures of a View: one photo with its maps side by side, for papers and slides."""

from vitscope.figures.picture import write_png

__all__ = ["write_png"]
