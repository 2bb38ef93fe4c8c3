"""Ways to resize a picture that are in use, each to be run: which one made a tensor is found by trying them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
Resize = Callable[[Pixels, tuple[int, int]], NDArray[np.floating]]


@dataclass(frozen=True)
class Kernel:
    """One way to resize.

    Attributes:
        name: of the interpolation ("bicubic").
        antialias: whether it averages when making a picture smaller; without, fine detail turns into false detail.
        made_by: the library whose rounding it follows.
        run: uint8 ``[H, W, 3]`` and ``(h, w)`` to ``[h, w, 3]``, 0..255.
    """

    name: str
    antialias: bool
    made_by: str
    run: Resize

    @property
    def text(self) -> str:
        """For people: what decides how the picture looks, without the library."""
        return self.name + ("" if self.antialias or self.name == "nearest" else " without antialiasing")


def _pil(how: Image.Resampling) -> Resize:
    def run(pixels: Pixels, size: tuple[int, int]) -> NDArray[np.floating]:
        return np.asarray(Image.fromarray(pixels).resize(size[::-1], how), dtype=np.float32)

    return run


def _torch(mode: str, *, antialias: bool) -> Resize:
    def run(pixels: Pixels, size: tuple[int, int]) -> NDArray[np.floating]:
        channels = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None].float()
        exact = {} if mode.startswith("nearest") else {"align_corners": False, "antialias": antialias}
        made = torch.nn.functional.interpolate(channels, size=size, mode=mode, **exact)
        return np.asarray(made[0].permute(1, 2, 0).clamp(0, 255).round().numpy())

    return run


KERNELS = (
    Kernel("bicubic", antialias=True, made_by="PIL", run=_pil(Image.Resampling.BICUBIC)),
    Kernel("bilinear", antialias=True, made_by="PIL", run=_pil(Image.Resampling.BILINEAR)),
    Kernel("lanczos", antialias=True, made_by="PIL", run=_pil(Image.Resampling.LANCZOS)),
    Kernel("box", antialias=True, made_by="PIL", run=_pil(Image.Resampling.BOX)),
    Kernel("hamming", antialias=True, made_by="PIL", run=_pil(Image.Resampling.HAMMING)),
    Kernel("nearest", antialias=False, made_by="PIL", run=_pil(Image.Resampling.NEAREST)),
    Kernel("nearest", antialias=False, made_by="PyTorch, OpenCV", run=_torch("nearest", antialias=False)),
    Kernel("bicubic", antialias=True, made_by="PyTorch", run=_torch("bicubic", antialias=True)),
    Kernel("bilinear", antialias=True, made_by="PyTorch", run=_torch("bilinear", antialias=True)),
    Kernel("bicubic", antialias=False, made_by="PyTorch, OpenCV", run=_torch("bicubic", antialias=False)),
    Kernel("bilinear", antialias=False, made_by="PyTorch, OpenCV", run=_torch("bilinear", antialias=False)),
)
