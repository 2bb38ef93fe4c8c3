"""What cannot be captured, found before the pass or as it happens, each with one clear error."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from vitscope.capture.paths import Paths
from vitscope.errors import CaptureError

#: Functions whose arguments show that the model is training.
WATCHED = frozenset(
    {"dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout", "dropout1d", "dropout2d", "dropout3d", "batch_norm"}
)
#: Functions that draw at random; in a model in training mode they make every pass another one (stochastic depth of any name).
RANDOM = frozenset(
    {"bernoulli", "bernoulli_", "rand", "rand_like", "randn", "randn_like", "uniform_", "normal_", "randint", "randperm", "multinomial"}
)
UNHEARD = ("attention", "attn", "fmha", "transformer_encoder_layer_fwd")
EVAL = "call model.eval() first; vitscope never switches a model itself"


def check_module(module: nn.Module) -> None:
    """Refuse a model that is compiled, scripted, or training in a way that changes what it computes.

    Raises:
        CaptureError: with the path of the module and what to do.
    """
    for path, part in module.named_modules():
        where = path or type(part).__name__
        if hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None:
            raise CaptureError(
                "this module is compiled (torch.compile): its attention runs inside generated code",
                expected="the original module",
                where=where,
                todo="pass model._orig_mod (or a model on which .compile() was not called)",
            )
        if isinstance(part, torch.jit.ScriptModule):
            raise CaptureError("this module is a TorchScript program", expected="the Python module", where=where)
        if part.training:
            _check_training(part, where)


def _check_training(part: nn.Module, where: str) -> None:
    if isinstance(part, nn.modules.batchnorm._BatchNorm):
        raise CaptureError("batch normalisation in training mode: a pass would change its buffers", where=where, todo=EVAL)
    rate = next(
        (getattr(part, name) for name in ("p", "drop_prob", "prob", "dropout") if isinstance(getattr(part, name, None), float)), 0.0
    )
    dropping = "drop" in type(part).__name__.lower() or isinstance(part, nn.MultiheadAttention)
    if dropping and rate > 0:
        raise CaptureError(f"{type(part).__name__}({rate:g}) is active: the model is in training mode", where=where, todo=EVAL)


def check_call(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], paths: Paths) -> None:
    """Refuse a running call that drops at random or updates running statistics.

    Raises:
        CaptureError: naming the module.
    """
    if name == "batch_norm":
        training = kwargs.get("training", args[5] if len(args) > 5 else False)
        if training and isinstance(args[1] if len(args) > 1 else None, Tensor):
            raise CaptureError("batch normalisation in training mode: a pass would change its buffers", where=paths.running(), todo=EVAL)
        return
    rate = kwargs.get("p", args[1] if len(args) > 1 else 0.5)
    training = kwargs.get("training", kwargs.get("train", args[2] if len(args) > 2 else True))
    if training:
        no_dropout(float(rate), paths.running(), name)


def random_draw(name: str, path: str) -> CaptureError:
    """A draw at random in a model in training mode."""
    return CaptureError(f"{name} draws at random and the model is in training mode", where=path or "the model", todo=EVAL)


def no_dropout(rate: float, path: str, what: str) -> None:
    """Refuse attention or activations with dropout at work."""
    if rate > 0:
        raise CaptureError(f"dropout {rate:g} is active in {what}: the model is in training mode", where=path or "the model", todo=EVAL)


def unheard(name: str, path: str) -> CaptureError:
    """An attention kernel that keeps its attention to itself."""
    return CaptureError(
        f"attention runs in {name}, a kernel that is not known here",
        expected="scaled_dot_product_attention, nn.MultiheadAttention, or attention written out with matmul and softmax",
        where=path or "the model",
        todo="load the model with its sdpa attention (transformers: attn_implementation='sdpa'), "
        f"or say how its arguments are read: vitscope.capture.KERNELS[{name!r}], or an entry point of that name in the group "
        "vitscope.kernels (docs/errors/unknown-kernel.md)",
    )


def compiled_inside(module: nn.Module) -> CaptureError:
    """The compiler met the interceptor: some function inside the forward is compiled by itself (flex_attention is)."""
    return CaptureError(
        "part of the forward compiles itself (flex_attention, or a function under torch.compile), and generated code cannot be heard",
        expected="scaled_dot_product_attention, nn.MultiheadAttention, or attention written out with matmul and softmax",
        where=type(module).__name__,
        todo="load the model with its sdpa attention (transformers: attn_implementation='sdpa')",
    )


def none_heard(module: nn.Module) -> CaptureError:
    """A whole pass without one attention call."""
    return CaptureError(
        "no attention call was seen in the whole forward pass",
        expected="scaled_dot_product_attention, nn.MultiheadAttention, or attention written out with matmul and softmax",
        where=type(module).__name__,
        todo="attention in flash_attn, flex_attention or compiled code cannot be seen: use the model's sdpa variant "
        "(docs/errors/unknown-kernel.md)",
    )


def cannot_drop(keep: Tensor, keys: int, path: str) -> CaptureError:
    """Keys that are not the tokens to be dropped."""
    return CaptureError(
        f"cannot drop tokens here: this call has {keys} keys, the choice is over {keep.shape[1]} tokens for {len(keep)} pictures",
        where=path or "the model",
        todo="use integrated gradients instead of occlusion",
    )
