"""Kinds of the tokens before the patches, read off the names of a model's own learned tokens."""

from __future__ import annotations

import re

from torch import nn

from vitscope.core.layout import Kind

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
