"""References to loaded models; one file a family."""

from vitscope.models.load import load
from vitscope.models.loaded import LoadedModel

__all__ = ["LoadedModel", "load"]
