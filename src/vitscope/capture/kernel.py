"""The arguments of one fused attention call, read, and changed on their way where tokens are dropped."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from vitscope.capture import guards

NAMES = ("query", "key", "value", "attn_mask", "dropout_p", "is_causal")


@dataclass(frozen=True)
class Arguments:
    """What ``scaled_dot_product_attention`` is asked.

    Shapes:
        query ``[*lead, nq, d]``; key, value ``[*lead, nk, d]``; mask broadcastable to ``[*lead, nq, nk]`` (bool: True keeps).
    """

    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    dropout: float
    is_causal: bool
    scale: float
    grouped: bool

    @classmethod
    def read(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
        """Positional or by name, with the kernel's own defaults."""
        given = {**dict(zip(NAMES, args, strict=False)), **kwargs}
        query = given["query"]
        scale = given.get("scale")
        return cls(
            query,
            given["key"],
            given["value"],
            given.get("attn_mask"),
            float(given.get("dropout_p", 0.0)),
            bool(given.get("is_causal", False)),
            float(scale) if scale is not None else 1 / float(query.shape[-1]) ** 0.5,
            bool(given.get("enable_gqa", False)),
        )

    def arguments(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """For calling the kernel."""
        options: dict[str, Any] = {"attn_mask": self.mask, "is_causal": self.is_causal, "scale": self.scale}
        if self.grouped:
            options["enable_gqa"] = True
        return (self.query, self.key, self.value), options

    def dropping(self, keep: Tensor, path: str) -> Arguments:
        """The same call in which keys marked False get no attention, on top of any mask it has."""
        queries, keys = self.query.shape[-2], self.key.shape[-2]
        lead = self.query.shape[:-2]
        if keep.shape[1] != keys or not lead or lead[0] % len(keep):
            raise guards.cannot_drop(keep, keys, path)
        kept = keep.repeat_interleave(lead[0] // len(keep), dim=0).view(lead[0], *(1,) * len(lead), keys)
        if self.is_causal:
            kept = kept & torch.ones(queries, keys, dtype=torch.bool, device=keep.device).tril()
        if self.mask is not None:
            kept = self.mask & kept if self.mask.dtype == torch.bool else self.mask.masked_fill(~kept, float("-inf"))
        return replace(self, mask=kept, is_causal=False)

    def sharpened(self) -> Tensor:
        """What comes out when every query looks at the middle key alone."""
        value = self.value
        if self.grouped:
            value = value.repeat_interleave(self.query.shape[-3] // value.shape[-3], dim=-3)
        lead = (self.query[..., 0, 0] + value[..., 0, 0]).shape
        middle = value.shape[-2] // 2
        return value[..., middle : middle + 1, :].expand(*lead, self.query.shape[-2], -1)
