"""From what people have — a file, a PIL image, an array — to a Sample. No torch here."""

from vitscope.inputs.images import read_sample, read_samples
from vitscope.inputs.opening import MAX_PIXELS

__all__ = ["MAX_PIXELS", "read_sample", "read_samples"]
