"""A model's own patch filters and position embeddings, found by what they must be; what cannot be found is said."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vitscope.core.layout import TokenLayout
from vitscope.errors import MethodError

if TYPE_CHECKING:
    from vitscope.models.loaded import LoadedModel

_POSITIONS = re.compile(r"(^|[._])(pos_embed|pos_embedding|position_embeddings?|positional_embedding)(\.weight)?$")


def patch_filters(model: LoadedModel) -> NDArray[np.float32]:
    """The filters that turn a patch into a vector, ``[width, 3, ph, pw]``.

    Raises:
        MethodError: patches are not made by one convolution over red, green and blue of the patch's own size.
    """
    layout = model.layout()
    for part in model.module.modules():
        if isinstance(part, nn.Conv2d) and part.in_channels == 3 and (part.kernel_size, part.stride) == (layout.patch, layout.stride):
            return _array(part.weight)
    raise MethodError(
        f"no convolution over RGB with a kernel of {layout.patch[0]}×{layout.patch[1]} and stride {layout.stride[0]}",
        expected="patches made by one convolution",
        where=f"patch filters of {model.ref}",
        todo="a stem of several layers, or a linear map of flattened patches, has no filters to show",
    )


def position_embeddings(model: LoadedModel) -> NDArray[np.float32]:
    """The learned vector that is added to each patch for its place, ``[gh, gw, width]``.

    Raises:
        MethodError: none is found under a name that libraries give, or it is of another number of positions than there are patches.
    """
    layout = model.layout()
    named = [*model.module.named_parameters(), *model.module.named_buffers()]
    found = [(name, value) for name, value in named if _POSITIONS.search(name) and value.is_floating_point()]
    for _, value in found:
        grid = _on_grid(value, layout)
        if grid is not None:
            return grid
    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in found)
    raise MethodError(
        f"found {shapes}" if found else "no position embedding added to the tokens (rotary, relative or none at all)",
        expected=f"a vector for each of {layout.grid[0]}×{layout.grid[1]} patches",
        where=f"position embeddings of {model.ref}",
    )


def _on_grid(value: Tensor, layout: TokenLayout) -> NDArray[np.float32] | None:
    """Position vectors as the patches lie, or None where their number does not fit."""
    gh, gw = layout.grid
    x = value.detach()
    if x.dim() == 4 and tuple(x.shape[-2:]) == layout.grid:
        return _array(x[0].permute(1, 2, 0))
    if x.dim() == 4 and tuple(x.shape[1:3]) == layout.grid:
        return _array(x[0])
    x = x[0] if x.dim() == 3 and len(x) == 1 else x
    if x.dim() != 2:
        return None
    if len(x) == layout.n:
        return _array(x[torch.as_tensor(layout.patches)].reshape(gh, gw, -1))
    if 0 <= len(x) - gh * gw <= len(layout.prefix):  # prefix tokens without a place of their own; those with one come first
        return _array(x[len(x) - gh * gw :].reshape(gh, gw, -1))
    return None


def _array(x: Tensor) -> NDArray[np.float32]:
    return np.asarray(x.detach().float().cpu().numpy(), dtype=np.float32)
