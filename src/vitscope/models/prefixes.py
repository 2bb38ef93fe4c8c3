"""Kinds of the tokens before the patches, read off the names of a model's own learned tokens."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitscope.core.layout import Kind
from vitscope.models.measure import first_attention

#: Names libraries give to learned tokens, in the order the tokens are put in front of the patches.
_NAMES = (
    (Kind.CLS, re.compile(r"(^|\.)(cls_token|class_token|class_embedding|cls_embed)$")),
    (Kind.DISTILL, re.compile(r"(^|\.)(dist_token|distillation_token)$")),
    (Kind.REGISTER, re.compile(r"(^|\.)(reg_token|reg_tokens|register_token|register_tokens|registers|storage_tokens)$")),
    (Kind.QUERY, re.compile(r"(^|\.)(detection_tokens|det_token)$")),
)


def learned_tokens(module: nn.Module) -> tuple[Kind, ...]:
    """The kinds of all learned tokens a model puts beside its patches, in order; a parameter ``[1, r, width]`` counts ``r`` times."""
    found: list[Kind] = []
    for kind, pattern in _NAMES:
        sizes = [p.shape for name, p in module.named_parameters() if pattern.search(name)]
        count = sum(int(shape[-2]) if len(shape) > 1 else 1 for shape in sizes)
        found += [kind] * count
    return tuple(found)


def in_token_order(module: nn.Module, call: Callable[[nn.Module, Tensor], object], noise: Tensor) -> tuple[Kind, ...]:
    """The same kinds in the order the model puts them: a token is of the kind whose parameter it depends on at the first attention.

    Where that does not find every token at one end of the sequence, the libraries' usual order stands.
    """
    told = learned_tokens(module)
    if len(set(told)) < 2:
        return told
    names = [(kind, name) for kind, pattern in _NAMES for name, _ in module.named_parameters() if pattern.search(name)]
    free = all(module.get_parameter(name).requires_grad for _, name in names)
    source = module if free else copy.deepcopy(module).requires_grad_()
    tokens = first_attention(source, lambda pixels: call(source, pixels), noise, grad=True).tokens
    n, r = len(tokens), len(told)
    ends = range(n) if n <= 2 * r else [*range(r), *range(n - r, n)]
    found = [kind for i in ends for kind in _kinds_of(tokens[i], [(kind, source.get_parameter(name)) for kind, name in names])]
    return tuple(found) if sorted(found) == sorted(told) else told


def _kinds_of(token: Tensor, parameters: list[tuple[Kind, nn.Parameter]]) -> list[Kind]:
    if not token.requires_grad:
        return []
    weights = torch.randn(token.shape, generator=torch.Generator().manual_seed(0)).to(token)
    grads = torch.autograd.grad((token * weights).sum(), [p for _, p in parameters], retain_graph=True, allow_unused=True)
    return [kind for (kind, _), grad in zip(parameters, grads, strict=True) if grad is not None and bool(grad.any())]
