"""The one interceptor: hears every attention of a model while it runs, and changes nothing.

A ``TorchFunctionMode`` lives in this thread alone and ends with its ``with`` block, also after an exception; no module,
class or function is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - its usual name
from torch.overrides import TorchFunctionMode

from vitscope.capture import guards
from vitscope.capture.backward import with_plain_gradient
from vitscope.capture.following import Track, Tracks, step
from vitscope.capture.heard import Heads, Heard
from vitscope.capture.kernel import Kernel, kernel_of
from vitscope.capture.paths import Paths
from vitscope.capture.products import PRODUCTS, Product, arrange, arranger, read, value_roles
from vitscope.capture.scores import distributes, explains, one_key, scores_track, turned, weights_arranger
from vitscope.trace import AttentionCall


@contextmanager
def intercept(
    module: nn.Module, *, batch: int | None = None, keep: Tensor | None = None, sharpen: Iterable[int] = ()
) -> Iterator[Recorder]:
    """Hear every attention call the module makes inside the ``with`` block, in this thread.

    Args:
        module: whose calls; the paths reported are its own.
        batch: pictures in the batch, for models that fold heads into it; read off the first tensor where not given.
        keep: bool ``[b, nk]``; keys marked False get no attention in any call (the call is changed on its way, not the model).
        sharpen: numbers of calls (in running order) in which all queries look at one key alone: for proving that attention matters.

    Raises:
        CaptureError: dropout is active, or attention runs in a kernel that cannot be heard.
    """
    recorder = Recorder(module, batch=batch, keep=keep, sharpen=frozenset(sharpen))
    with recorder:
        try:
            yield recorder
        except RuntimeError as error:
            if type(error).__module__.startswith("torch._dynamo"):
                raise guards.compiled_inside(module) from error
            raise
        finally:
            recorder.forget_tracks()


class Recorder(TorchFunctionMode):
    """What was heard.

    Attributes:
        heard: the calls, still attached to the graph where there is one.
    """

    def __init__(
        self, module: nn.Module, *, batch: int | None = None, keep: Tensor | None = None, sharpen: frozenset[int] = frozenset()
    ) -> None:
        super().__init__()
        self.heard: list[Heard] = []
        self._paths = Paths(module)
        self._training = any(part.training for part in module.modules())
        self._batch = batch
        self._keep = keep
        self._sharpen = sharpen
        self._tracks = Tracks()
        self._mha: tuple[int, str] | None = None

    @property
    def calls(self) -> tuple[AttentionCall, ...]:
        """The calls, detached, without block numbers."""
        return tuple(heard.call() for heard in self.heard)

    def forget_tracks(self) -> None:
        """Let go of everything but the calls themselves."""
        self._tracks = Tracks()

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        kwargs = kwargs or {}
        name = _name(func)
        if self._batch is None:
            self._batch = _batch_of(args)
        if name in guards.WATCHED:
            guards.check_call(name, args, kwargs, self._paths)
        if self._training and name in guards.RANDOM:
            raise guards.random_draw(name, self._paths.running())
        kernel = kernel_of(name)
        if kernel is not None:
            return self._fused(kernel, func, args, kwargs)
        if func is F.multi_head_attention_forward:
            return self._multi_head(args, kwargs)
        if any(part in name for part in guards.UNHEARD):
            raise guards.unheard(name, self._paths.running())
        if name == "softmax":
            return self._softmax(func, args, kwargs)
        if name in PRODUCTS:
            return self._product(name, func, args, kwargs)
        if len(self._tracks) == 0:
            return with_plain_gradient(name, func(*args, **kwargs))
        return self._other(name, func, args, kwargs)

    # fused attention

    def _fused(self, kernel: Kernel, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        call = kernel.read(args, kwargs)
        path = self._paths.running()
        guards.no_dropout(call.dropout, path, _name(func))
        out: Tensor
        if len(self.heard) in self._sharpen:
            out = kernel.back(call.sharpened())
        elif self._keep is not None:
            call = call.dropping(self._keep, path)
            out = kernel.back(call.alone())
        else:
            out = func(*args, **kwargs)
        self.heard.append(
            Heard(
                path=self._mha[1] if self._mha else path,
                kind="mha" if self._mha else "sdpa",
                heads=self._heads(kernel.place(out.detach()).shape[:-2]),
                q=call.query,
                k=call.key,
                v=call.value,
                out=out,
                scale=call.scale,
                masks=() if call.mask is None else (call.mask,),
                is_causal=call.is_causal,
                place=kernel.place,
            )
        )
        return out

    def _multi_head(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run the function's own code with this mode back on, so that the attention inside is heard; only its namespace is a copy."""
        original = F.multi_head_attention_forward
        namespace = {**original.__globals__, "has_torch_function": lambda _: False}
        inside = FunctionType(original.__code__, namespace, original.__name__, original.__defaults__, original.__closure__)
        inside.__kwdefaults__ = original.__kwdefaults__
        query = args[0]
        before, self._mha = self._mha, (query.shape[1] if query.dim() == 3 else 1, self._paths.running())
        try:
            with self:
                return inside(*args, **kwargs)
        finally:
            self._mha = before

    # attention written out

    def _softmax(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        x = args[0] if args else kwargs.get("input")
        track = self._tracks.get(x)
        dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
        if not isinstance(x, Tensor) or track is None or track.weights is not None or not isinstance(dim, int):
            return func(*args, **kwargs)
        if dim % x.dim() not in track.axes:
            return func(*args, **kwargs)
        track = turned(track, dim % x.dim())
        if self._keep is not None:
            x, track = self._dropped(x, track)
            args, kwargs = ((x, *args[1:]), kwargs) if args else (args, {**kwargs, "input": x})
        out = func(*args, **kwargs)
        if track.exact and not explains(track, out, self._heads(out.shape[:-2])):
            track = track.lost()
        lead = tuple(axis for axis in range(out.dim()) if axis not in track.axes)
        self._tracks.set(out, replace(track, lead=lead, weights=out, weights_axes=track.axes))
        return out

    def _dropped(self, scores: Tensor, track: Track) -> tuple[Tensor, Track]:
        """Dropped keys get a score of −∞ on the way into the softmax."""
        assert self._keep is not None
        keys = scores.shape[track.axes[1]]
        if self._keep.shape[1] != keys or scores.shape[0] % len(self._keep):
            raise guards.cannot_drop(self._keep, keys, self._paths.running())
        keep = self._keep.repeat_interleave(scores.shape[0] // len(self._keep), dim=0)
        shape = [1] * scores.dim()
        shape[0], shape[track.axes[1]] = keep.shape
        keep = keep.view(shape)
        term = torch.zeros(keep.shape, device=keep.device).masked_fill_(~keep, float("-inf"))
        return scores.masked_fill(~keep, float("-inf")), replace(track, masks=(*track.masks, term))

    def _product(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        product = read(name, args, kwargs)
        if product is None:
            return self._other(name, func, args, kwargs)
        sides = [(one, self._tracks.get(one.left)) for one in (product, product.swapped())]
        weighing = [(one, track) for one, track in sides if track is not None and track.weights is not None]
        if len(weighing) == 1:
            return self._values(*weighing[0], name, func, args, kwargs)
        out = func(*args, **kwargs)
        if not weighing and isinstance(out, Tensor):
            self._tracks.set(out, scores_track(product, out))
        return out

    def _values(self, product: Product, track: Track, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The product of the weights with v: here an attention is complete."""
        roles = value_roles(product, track.axes, track.lead)
        if roles is None or product.term is not None:
            return self._other(name, func, args, kwargs)
        if len(self.heard) in self._sharpen:
            args = _with(args, product.left, one_key(product.left, track.axes[1]))
        out = func(*args, **kwargs)
        place = arranger(product.letters[2], roles.batch + roles.left + roles.right)
        lead = place(out.detach()).shape[:-2]
        path = self._mha[1] if self._mha else self._paths.running()
        place_weights = weights_arranger(track, lead)
        if track.mixed and distributes(product.left, track.axes[1]):  # what is multiplied with v is itself the attention
            track = replace(track.lost(), weights=product.left, mixed=False)
            place_weights = arranger(product.letters[0], roles.batch + roles.left + roles.contracted)
            self._none_left(place_weights(product.left.detach()), path)
        self.heard.append(
            Heard(
                path=path,
                kind="mha" if self._mha else "written out",
                heads=self._heads(lead),
                q=track.q if not track.mixed else None,
                k=track.k if not track.mixed else None,
                v=arrange(product.right, product.letters[1], roles.batch + roles.contracted + roles.right),
                out=out,
                scale=track.scale,
                masks=track.masks,
                weights=None if track.exact and not track.mixed else track.weights,
                mixed=track.mixed,
                place=place,
                place_weights=place_weights,
            )
        )
        return out.clone() if isinstance(out, Tensor) else out  # some models write into it; small beside the weights they wrote out

    def _none_left(self, weights: Tensor, path: str) -> None:
        """Weights ``[*lead, nq, nk]`` that were changed after the softmax may attend to a dropped key all the same."""
        if self._keep is None:
            return
        dropped = ~self._keep.repeat_interleave(len(weights) // len(self._keep), dim=0)
        if bool((weights * dropped.view(len(weights), *(1,) * (weights.dim() - 2), -1)).any()):
            raise guards.cannot_drop(self._keep, weights.shape[-1], path)

    def _other(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Anything else: followed where one of its arguments is on the way through an attention."""
        at = next((i for i, x in enumerate(args) if self._tracks.get(x) is not None), None)
        track = None if at is None else self._tracks.get(args[at])
        shape = None if at is None else args[at].shape
        out = with_plain_gradient(name, func(*args, **kwargs))
        if at is not None and track is not None and isinstance(out, Tensor) and out.is_floating_point() and out.shape is not shape:
            self._tracks.set(out, step(name, func, args, kwargs, (at, track), out))
        return out

    def _heads(self, lead: tuple[int, ...]) -> Heads:
        return Heads(tuple(lead), self._mha[0] if self._mha else self._batch or 1)


def _name(func: Any) -> str:
    """A function's plain name: ``Tensor.__matmul__``, ``torch.add``, ``Tensor.add_`` and ``Tensor.mT`` give matmul, add, add and mT."""
    name: str = getattr(func, "__name__", "") or str(func)
    if name == "__get__":
        return str(getattr(getattr(func, "__self__", None), "__name__", name))
    return name.strip("_")


def _batch_of(args: tuple[Any, ...]) -> int | None:
    """Pictures in the batch, from the first tensor of three or more dimensions that is not a parameter."""
    for x in args:
        if isinstance(x, Tensor) and not isinstance(x, nn.Parameter) and x.dim() >= 3 and x.is_floating_point():
            return int(x.shape[0])
    return None


def _with(args: tuple[Any, ...], old: Tensor, new: Tensor) -> tuple[Any, ...]:
    """The arguments with one tensor exchanged, also inside einsum's list."""
    return tuple(_with(tuple(x), old, new) if isinstance(x, (list, tuple)) else new if x is old else x for x in args)
