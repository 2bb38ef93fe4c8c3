"""What the backward pass needs, kept on the CPU or on disk until then: torch's own hooks on saved tensors, so results stay the same."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from vitscope.errors import ArgumentError

Offload = Literal["", "cpu", "disk"]

#: Tensors of fewer bytes stay where they are.
SMALL = 65_536


@contextmanager
def offloading(where: Offload, device: torch.device, weights: Callable[[], set[int]]) -> Iterator[None]:
    """While it lasts, activations that are saved for the backward pass are moved out, and fetched again when it comes to them.

    Args:
        where: "cpu" or "disk" (a folder in the system's place for temporary files, gone at the end); "" moves nothing.
        device: where the pass runs.
        weights: addresses of the model's own tensors, which stay.

    Raises:
        ArgumentError: "cpu" for a pass that runs there.
    """
    if not where:
        yield
        return
    if where == "cpu" and device.type == "cpu":
        raise ArgumentError("offload='cpu' for a pass on the CPU", expected="disk", where="offload")
    if where not in ("cpu", "disk"):
        raise ArgumentError(f"offload {where!r}", expected="cpu or disk", where="offload")
    own = weights()
    with tempfile.TemporaryDirectory(prefix="vitscope-") if where == "disk" else nullcontext("") as folder:
        files = _Files(Path(folder)) if where == "disk" else None

        def pack(x: Tensor) -> Any:
            if x.untyped_storage().data_ptr() in own or type(x) is not Tensor:
                return x
            if x.numel() * x.element_size() < SMALL:
                return x.detach()  # a graph that holds what it made itself is a circle that nothing ever frees
            return files.write(x) if files is not None else (x.device, x.cpu())

        def unpack(kept: Any) -> Tensor:
            if isinstance(kept, Tensor):
                return kept
            found: Tensor = kept() if callable(kept) else kept[1].to(kept[0])
            return found

        with saved_tensors_hooks(pack, unpack):
            yield


class _Files:
    """Tensors as files; each is read again as often as it is asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def write(self, x: Tensor) -> Callable[[], Tensor]:
        """Put a tensor away; the way to have it back."""
        path = self.folder / f"{self.count}.pt"
        self.count += 1
        torch.save(x.detach().clone(), path)  # a view would bring its whole memory along
        device = x.device
        return lambda: torch.load(path, map_location=device, weights_only=True)


def stores(tensors: Iterator[Tensor]) -> set[int]:
    """Addresses of the memory that tensors stand in."""
    return {x.untyped_storage().data_ptr() for x in tensors}
