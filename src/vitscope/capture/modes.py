"""The autograd mode a pass runs in, whatever the caller's own is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def ordinary_mode(*, grad: bool) -> Iterator[None]:
    """Inference mode off, gradients as needed; the caller's modes are back afterwards, also after an exception."""
    with torch.inference_mode(mode=False), torch.set_grad_enabled(grad):
        yield


def ordinary(x: Tensor) -> Tensor:
    """A tensor that can take part in a graph: a copy of one made in inference mode, else the same."""
    return x.clone() if x.is_inference() else x
