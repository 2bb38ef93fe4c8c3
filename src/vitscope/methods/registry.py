"""Every method by its public name: what it needs, what it shows and what it does not, and where it comes from."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitscope.core.maps import TokenMap
from vitscope.errors import ArgumentError, MethodError
from vitscope.methods.attention import attention, attention_by_layer
from vitscope.methods.grad_cam import NEEDS as CAM_NEEDS
from vitscope.methods.grad_cam import grad_cam, grad_cam_by_layer
from vitscope.methods.gradient_rollout import gradient_rollout, gradient_rollout_by_layer
from vitscope.methods.integrated_gradients import integrated_gradients
from vitscope.methods.legrad import NEEDS as LEGRAD_NEEDS
from vitscope.methods.legrad import legrad, legrad_by_layer
from vitscope.methods.occlusion import occlusion
from vitscope.methods.relevance import NEEDS as GRADIENT_NEEDS
from vitscope.methods.relevance import relevance, relevance_by_layer
from vitscope.methods.result import to_array
from vitscope.methods.rollout import rollout, rollout_by_layer
from vitscope.trace import Needs, Trace


@dataclass(frozen=True)
class Method:
    """One method, for people and programs.

    Attributes:
        name: public name.
        title: what to call it in a report.
        run: the function, ``run(trace, …) -> TokenMap``.
        needs: what the shared pass should leave behind for it.
        class_specific: whether it explains a target; the others give the same map for every class.
        signed: whether negative values mean evidence against.
        shows: one plain sentence: what the map shows.
        does_not_show: one plain sentence: what it does not show.
        source: the paper.
        reads_attention: whether it is made of attention weights, so that uniform attention leaves it nothing to show.
        develops: one plain sentence: what each layer's row holds; "" where the method has no layers.
        by_layer: the map at every layer, where the method has layers.
        reruns: about how many further runs of the model it costs, in words; "" for none.
    """

    name: str
    title: str
    run: Callable[..., TokenMap]
    needs: Needs
    class_specific: bool
    shows: str
    does_not_show: str
    source: str
    signed: bool = False
    reads_attention: bool = True
    develops: str = ""
    by_layer: Callable[..., list[Tensor]] | None = None
    reruns: str = ""

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the settings it takes ("target" among them where it explains one)."""
        return tuple(name for name in inspect.signature(self.run).parameters if name != "trace")

    @property
    def words(self) -> dict[str, str]:
        """What a report says beside the map."""
        words = {name: str(getattr(self, name)) for name in ("title", "shows", "does_not_show", "source", "develops")}
        return {name: text for name, text in words.items() if text}


_BACKWARDS = (
    "Row by row from the last block down to that one: what the read-out takes from the tokens entering it; the first row is the whole map."
)


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "attention",
            "Attention",
            attention,
            Needs(),
            class_specific=False,
            shows="Where the query looked in one layer: how its output there was mixed from the patches.",
            does_not_show="Not what mattered for the answer: it is the same for every class, and later layers may ignore it.",
            source="Vaswani et al., NeurIPS 2017, eq. 1",
            develops="The same query's row of attention in every block.",
            by_layer=attention_by_layer,
        ),
        Method(
            "rollout",
            "Rollout",
            rollout,
            Needs(),
            class_specific=False,
            shows="From which patches information could have reached the read-out through all layers, if only attention carried it.",
            does_not_show="Not what mattered for the answer: it is the same for every class, and leaves out values, MLPs and signs.",
            source="Abnar and Zuidema, ACL 2020, eq. 1",
            develops=_BACKWARDS,
            by_layer=rollout_by_layer,
        ),
        Method(
            "gradient-rollout",
            "Gradient rollout",
            gradient_rollout,
            GRADIENT_NEEDS,
            class_specific=True,
            shows="Rollout over only those attention links that raised this class's score.",
            does_not_show="Says where support came from, not how much; evidence against the class is cut off.",
            source="Gildenblat, vit-explain, 2020; Chefer et al., ICCV 2021, eq. 5",
            develops=_BACKWARDS,
            by_layer=gradient_rollout_by_layer,
        ),
        Method(
            "relevance",
            "Relevance",
            relevance,
            GRADIENT_NEEDS,
            class_specific=True,
            shows="Patches whose attention links, followed through all layers, raised this class's score.",
            does_not_show="A first-order estimate: evidence against the class is cut off, and values do not add up to the score.",
            source="Chefer, Gur and Wolf, ICCV 2021, eqs. 5 and 6",
            develops=_BACKWARDS,
            by_layer=relevance_by_layer,
        ),
        Method(
            "grad-cam",
            "Grad-CAM",
            grad_cam,
            CAM_NEEDS,
            class_specific=True,
            reads_attention=False,
            shows="Patches that carry, at one layer's output, features that raise this class's score.",
            does_not_show="Tokens mix before that layer: a patch's features may come from elsewhere in the picture.",
            source="Selvaraju et al., ICCV 2017, eqs. 1 and 2",
            develops="The map at every block; empty where it is undefined.",
            by_layer=grad_cam_by_layer,
        ),
        Method(
            "legrad",
            "LeGrad",
            legrad,
            LEGRAD_NEEDS,
            class_specific=True,
            shows="Where more attention, in any layer, would raise this class's score as read at that layer.",
            does_not_show="Early layers are scored with a head that was made for the last one; evidence against is cut off.",
            source="Bousselham et al., LeGrad, ICCV 2025",
            develops="Each layer's own part; their mean is the map.",
            by_layer=legrad_by_layer,
        ),
        Method(
            "integrated-gradients",
            "Integrated gradients",
            integrated_gradients,
            Needs(),
            class_specific=True,
            reads_attention=False,
            signed=True,
            shows="How much each patch's pixels add to the score on the way from an empty picture to this one; parts add up to the change.",
            does_not_show="Depends on what counts as empty; on transformers it is noisy, and neighbouring patches may differ by chance.",
            source="Sundararajan et al., ICML 2017, eq. 1, by captum",
            reruns="one forward and backward pass a step",
        ),
        Method(
            "occlusion",
            "Occlusion",
            occlusion,
            Needs(),
            class_specific=True,
            reads_attention=False,
            signed=True,
            shows="How much the score drops when a patch is taken away: a measurement on the model itself.",
            does_not_show="One patch at a time: where several patches show the same thing, each alone looks unimportant.",
            source="Zeiler and Fergus, ECCV 2014, sec. 4.2, with tokens dropped",
            reruns="one forward pass a patch",
        ),
    )
}


def find_method(name: str) -> Method:
    """A method by its public name (underscores are taken for hyphens).

    Raises:
        ArgumentError: no such method; the nearest names are offered.
    """
    wanted = name.strip().lower().replace("_", "-")
    if wanted in METHODS:
        return METHODS[wanted]
    near = difflib.get_close_matches(wanted, METHODS, n=2, cutoff=0.5)
    raise ArgumentError(
        f"unknown method {name!r}", expected=", ".join(METHODS), where="method", todo=f"nearest: {', '.join(near)}" if near else ""
    )


def needs_of(names: Iterable[str]) -> Needs:
    """What one shared pass must leave behind for all these methods."""
    needs = Needs()
    for name in names:
        needs |= find_method(name).needs
    return needs


def explain(trace: Trace, name: str, target: object = None, **options: object) -> TokenMap:
    """Run a method by name; the target goes only to methods that have one.

    Raises:
        ArgumentError: unknown method, or a setting it does not take.
    """
    method = find_method(name)
    _check_options(method, options)
    aim = {"target": target} if method.class_specific else {}
    return method.run(trace, **aim, **options)


def develop(trace: Trace, name: str, target: object = None, **options: object) -> NDArray[np.floating]:
    """How a map develops over the layers; ``METHODS[name].develops`` says what row ``l`` holds.

    Shapes:
        returns ``[b, L, n]``, NaN where undefined.

    Raises:
        MethodError: the method has no layers.
        ArgumentError: unknown method, or a setting it does not take.
    """
    method = find_method(name)
    if method.by_layer is None:
        layered = ", ".join(m.name for m in METHODS.values() if m.by_layer)
        raise MethodError("it works on the whole model at once", expected=f"a method with layers: {layered}", where=method.name)
    _check_options(method, options)
    taken = inspect.signature(method.by_layer).parameters
    aim = {"target": target} if method.class_specific else {}
    chosen = {key: value for key, value in options.items() if key in taken}
    return to_array(torch.stack(method.by_layer(trace, **aim, **chosen), dim=1))


def remake(trace: Trace, one: TokenMap, target: object = None) -> TokenMap:
    """The same map with the same settings, from another trace or for another target."""
    method = find_method(one.method)
    named = one.parameters | {"layer": one.layer, "head": one.head, "query": one.query}
    settings = {name: named[name] for name in method.options if named.get(name) not in (None, "")}
    return explain(trace, one.method, target, **settings)


def _check_options(method: Method, options: dict[str, object]) -> None:
    allowed = [name for name in method.options if name != "target"]
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        raise ArgumentError(f"option {', '.join(unknown)}", expected=", ".join(allowed), where=method.name, todo="leave it out")
