"""Local checkpoints: read without running code, unwrapped, and loaded strictly or refused with the numbers."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from vitscope.errors import ModelError

#: Where training scripts put the weights, and what wrappers put before their names.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "module", "weights")
_PREFIXES = ("module.", "_orig_mod.", "model.")
_PICKLED = (".pth", ".pt", ".bin", ".ckpt")


def read(path: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file, containers and wrapper prefixes taken off.

    Raises:
        ModelError: missing, empty or truncated file; one that needs unpickling; nothing in it that looks like weights.
    """
    path = Path(path)
    if not path.is_file():
        raise ModelError("no such file", where=str(path), expected="a checkpoint (.safetensors, .pth, .pt or .bin)")
    if path.stat().st_size == 0:
        raise ModelError("an empty file", where=str(path), expected="a checkpoint (.safetensors, .pth, .pt or .bin)")
    if path.suffix == ".safetensors":
        return _strip(_read_safetensors(path))
    if path.suffix in _PICKLED:
        return _strip(_unwrap(_read_pickled(path), path))
    raise ModelError(f"a file ending in {path.suffix!r}", where=str(path), expected=".safetensors, .pth, .pt or .bin")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"not a whole safetensors file ({error})", where=str(path), todo="fetch or save it again") from error


def _read_pickled(path: Path) -> object:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols; what cannot be read is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if _is_pickle(path) and (isinstance(error, pickle.UnpicklingError) or "TorchScript" in str(error)):
            raise ModelError(
                "a checkpoint that would run code when opened",
                where=str(path),
                expected="tensors only",
                todo="save model.state_dict(), best as .safetensors",
            ) from error
        raise ModelError("a damaged file, or no checkpoint at all", where=str(path), expected="what torch.save wrote") from error


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def _unwrap(found: object, path: Path) -> dict[str, Tensor]:
    for _ in range(3):
        if not isinstance(found, Mapping):
            break
        tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        found = next((found[key] for key in _CONTAINERS if key in found), None)
    raise ModelError(f"no weights in it ({type(found).__name__})", where=str(path), expected="a dictionary of names and tensors")


def _strip(state: dict[str, Tensor]) -> dict[str, Tensor]:
    for _ in range(4):
        prefix = next((p for p in _PREFIXES if state and all(name.startswith(p) for name in state)), None)
        if prefix is None:
            break
        state = {name[len(prefix) :]: value for name, value in state.items()}
    return state


def class_count(state: Mapping[str, Tensor], heads: Sequence[str]) -> int | None:
    """Number of classes, read off the classifier's weight ``[classes, width]``; None where there is no such weight."""
    return next((int(state[f"{head}.weight"].shape[0]) for head in heads if f"{head}.weight" in state), None)


def load_strictly(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Put every weight in its place, none missing, none left over.

    Raises:
        ModelError: the checkpoint is of another architecture, with the numbers of missing, unexpected and mis-shaped weights.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in state]
    unexpected = [name for name in state if name not in own]
    misshaped = [name for name in own if name in state and own[name].shape != state[name].shape]
    if missing or unexpected or misshaped:
        raise mismatch(missing, unexpected, _shapes(own, state, misshaped), where)
    module.load_state_dict(dict(state), strict=True)


def _shapes(own: Mapping[str, Tensor], state: Mapping[str, Tensor], names: Sequence[str]) -> list[str]:
    return [f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}" for name in names]


def mismatch(missing: Sequence[str], unexpected: Sequence[str], misshaped: Sequence[str], where: str) -> ModelError:
    """The error for weights of another architecture: how many, and the first few names."""
    counts = f"{len(missing)} missing, {len(unexpected)} unexpected and {len(misshaped)} mis-shaped weights"
    lists = (("missing", missing), ("unexpected", unexpected), ("mis-shaped", misshaped))
    named = "; ".join(f"{kind}: {', '.join(names[:3])}{' …' if len(names) > 3 else ''}" for kind, names in lists if names)
    return ModelError(
        f"{counts} ({named})", where=where, expected="a checkpoint of this architecture", todo="give the architecture it was trained with"
    )


def read_labels(path: str | Path) -> tuple[str, ...]:
    """Class names from a text file, one a line.

    Raises:
        ModelError: missing, unreadable or empty file.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError("no such file", where=str(path), expected="class names, one a line")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError("no readable text file", where=str(path), expected="class names, one a line") from error
    names = tuple(line.strip() for line in lines)
    while names and not names[-1]:
        names = names[:-1]
    if not names:
        raise ModelError("no names in it", where=str(path), expected="class names, one a line")
    return names


def check_labels(names: Sequence[str], count: int, where: str) -> tuple[str, ...]:
    """The names, if there is one for each class.

    Raises:
        ModelError: another number of names than the model has classes.
    """
    if len(names) != count:
        raise ModelError(f"{len(names)} class names", where=where, expected=f"{count}, one for each class of the model")
    return tuple(names)


def plain_labels(count: int) -> tuple[str, ...]:
    """Numbered names ("class 0", "class 1" …) where nobody knows better."""
    return tuple(f"class {i}" for i in range(count))
