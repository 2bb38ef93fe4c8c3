"""Provenance: what made a result, without any clock, so that two runs give the same bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field


@dataclass(frozen=True)
class Provenance:
    """What made a result.

    Attributes:
        model: the reference the model was loaded by ("builtin:photos", "timm:vit_tiny_patch16_224").
        weights: sha256 over all parameters and buffers, by name; first 16 hex digits.
        preprocessing: one line, e.g. "resize shortest edge 248 bicubic, centre crop 224, mean 0.5, std 0.5".
        attention: the kernels attention ran through ("sdpa", "mha", "written out"), comma-separated.
        versions: library name -> version.
    """

    model: str
    weights: str
    preprocessing: str
    dtype: str
    device: str
    attention: str
    seed: int
    versions: dict[str, str] = field(default_factory=dict)
    samples: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return asdict(self)
