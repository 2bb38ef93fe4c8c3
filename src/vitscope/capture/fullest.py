"""The most memory a pass has in use at once, known before it runs: forward and backward on tensors without values, each followed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vitscope.capture.blocks import Blocks
from vitscope.capture.footprint import Bare, Pixels, bare, empty, parts
from vitscope.capture.hidden import hearing_blocks
from vitscope.capture.intercept import intercept
from vitscope.capture.modes import ordinary_mode
from vitscope.capture.offload import SMALL
from vitscope.errors import CaptureError
from vitscope.trace import Needs


class _Followed(TorchDispatchMode):
    """Every memory an operation makes, until nobody holds it any more."""

    def __init__(self, known: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.known = {_key(x) for x in known}
        self.held: dict[int, tuple[StorageWeakRef, int]] = {}
        self.now = self.most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run it, and look at what is there now."""
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and _key(x) not in self.known and _key(x) not in self.held:
                storage = x.untyped_storage()
                self.held[_key(x)] = (StorageWeakRef(storage), int(storage.nbytes()))  # type: ignore[no-untyped-call]
                self.now += int(storage.nbytes())
        if self.now > self.most:
            for key in [key for key, (kept, _) in self.held.items() if kept.expired()]:  # type: ignore[no-untyped-call]
                self.now -= self.held.pop(key)[1]
            self.most = max(self.most, self.now)
        return out


def _key(x: Tensor) -> int:
    return int(x.untyped_storage()._cdata)


def fullest(
    module: nn.Module,
    forward: Callable[[Tensor], Any],
    like: Pixels,
    needs: Needs,
    blocks: Blocks | None = None,
    *,
    attention: int = 0,
    moved: bool = False,
) -> int:
    """Bytes in use at the fullest moment of a pass, the pixels among them; the weights, and what a kernel holds inside itself, come on top.

    Args:
        module: as for :func:`~vitscope.capture.footprint.footprint`.
        forward: how it is called.
        like: the pixels, without their values.
        needs: what the pass leaves behind.
        blocks: whose outputs are kept where ``needs.hidden``.
        attention: bytes its attention calls have in use, where it is written out and can only be followed on real values: an upper bound.
        moved: whether activations wait elsewhere for the backward pass.

    Raises:
        CaptureError: the model's forward depends on values.
    """
    try:
        return _followed(module, forward, like, needs, blocks, moved=moved, listen=True)
    except CaptureError:
        if not attention:
            raise
        twice = needs.gradients or needs.layer_scores
        return _followed(module, forward, like, needs, blocks, moved=moved, listen=False) + attention * (1 + twice)


def _followed(
    module: nn.Module,
    forward: Callable[[Tensor], Any],
    like: Pixels,
    needs: Needs,
    blocks: Blocks | None,
    *,
    moved: bool,
    listen: bool,
) -> int:
    backward = needs.gradients or needs.layer_scores or needs.pixel_gradients
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    own = [*module.parameters(), *module.buffers()]
    weights = [*own, *map(mode.from_tensor, own)]
    following = _Followed(weights)
    try:
        with ExitStack() as stack:
            stack.enter_context(ordinary_mode(grad=backward))
            stack.enter_context(mode)
            stack.enter_context(following)
            pixels = torch.empty(like.shape, dtype=like.dtype, device=like.device).requires_grad_(backward)
            if moved:
                stack.enter_context(saved_tensors_hooks(lambda x: _away(x, following.known), _back))
            outputs = stack.enter_context(hearing_blocks(module, blocks if needs.hidden or needs.layer_scores else None))
            heard = stack.enter_context(intercept(module, batch=like.shape[0])).heard if listen else []
            made = [x for x in parts(forward(pixels)) if x.requires_grad]
            if backward and made:
                wanted = [x for x in (*(call.out for call in heard), *outputs, pixels) if x.requires_grad]
                gradients = torch.autograd.grad([x.sum() for x in made], wanted, allow_unused=True)
                del gradients
    except Exception as error:  # whatever a model does with values that are not there
        said = " ".join(str(error).split())[:160]
        raise CaptureError(f"what a pass needs cannot be known before it runs ({said})", where=type(module).__name__) from error
    return following.most


def _away(x: Tensor, weights: set[int]) -> Tensor | Bare:
    """A saved tensor that waits elsewhere: how to make its like; the model's own and small ones stay."""
    if _key(x) in weights:
        return x
    return x.detach() if x.numel() * x.element_size() < SMALL else bare(x)


def _back(kept: Tensor | Bare) -> Tensor:
    return kept if isinstance(kept, Tensor) else empty(kept)
