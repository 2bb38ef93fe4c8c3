"""Samples, placements and maps made up without any model, for tests of what draws."""

from __future__ import annotations

import numpy as np

from vitscope.core.layout import Kind, Readout, TokenLayout
from vitscope.core.maps import TokenMap
from vitscope.core.placement import Placement
from vitscope.core.provenance import Provenance
from vitscope.core.sample import Sample
from vitscope.views.photo import Fed, build_photo_view
from vitscope.views.view import View

WORDS = {
    "attention": {
        "title": "Attention",
        "shows": "Where this layer's heads read from when the answer is formed.",
        "does_not_show": "Whether what was read counted for or against any class; it is the same for every class.",
        "source": "Vaswani et al. 2017",
        "develops": "The same row of attention in every block.",
    },
    "rollout": {
        "title": "Rollout",
        "shows": "How attention passes from patch to answer through all layers, the residual path counted as half.",
        "does_not_show": "What the answer would be without a patch; it knows of no class.",
        "source": "Abnar & Zuidema 2020, eq. 1",
    },
    "relevance": {
        "title": "Relevance",
        "shows": "Attention weighted by how much each weight would raise the score of the target, gathered over layers.",
        "does_not_show": "Evidence against the target: negative parts are cut in every layer.",
        "source": "Chefer et al. 2021, eqs. 5–6",
    },
    "occlusion": {
        "title": "Occlusion",
        "shows": "How far the target's score falls when a patch's token is taken away: the model was really run without it.",
        "does_not_show": "Patches that can stand in for one another.",
        "source": "Zeiler & Fergus 2014",
    },
}
UNITS = {
    "attention": "attention weight (row sums to 1)",
    "rollout": "share of the read-out (row sums to 1)",
    "relevance": "relevance",
    "occlusion": "logit change when hidden",
}
TRUST = {
    "sentence": "Hiding its hottest patches costs 3.40 score points, random ones 0.90 ± 0.21: what it marks matters to the score.",
    "uninformative": False,
    "redrawn_weights_similarity": 0.08,
    "target_swap_similarity": 0.31,
    "target_swapped_to": "tiger cat",
    "hottest_drop": 3.4,
    "random_drop": 0.9,
    "random_drop_spread": 0.21,
    "draws_beaten": 1.0,
    "random_draws": 10,
    "relative_spread": 0.8,
    "attention_from_uniform": 0.4,
}


def chelsea() -> Sample:
    """The cat that comes inside scikit-image."""
    from skimage.data import chelsea as cat

    return Sample("chelsea", np.asarray(cat())[None], path="photos/chelsea.png", digest="ab" * 32)


def plain_sample(height: int = 120, width: int = 160, path: str = "photos/plain.png") -> Sample:
    """A smooth colour ramp."""
    y, x = np.indices((height, width))
    pixels = np.stack([255 * x / max(width - 1, 1), 255 * y / max(height - 1, 1), np.full((height, width), 90.0)], axis=-1)
    return Sample(path.rsplit("/", 1)[-1].rsplit(".", 1)[0], np.rint(pixels)[None].astype(np.uint8), path=path, digest="cd" * 32)


def cropped(sample: Sample, size: int = 224) -> Placement:
    """Shorter side to 8/7 of the input, centre crop."""
    height, width = sample.size
    scale = (size * 8 / 7) / min(height, width)
    resized = round(height * scale), round(width * scale)
    placement = Placement.of_photo(sample.size).resize(resized)
    return placement.crop((resized[0] - size) // 2, (resized[1] - size) // 2, (size, size))


def padded(sample: Sample, size: int = 224) -> Placement:
    """Longer side to the input, padding around."""
    height, width = sample.size
    factor = size / max(height, width)
    h, w = max(round(height * factor), 1), max(round(width * factor), 1)
    top, left = (size - h) // 2, (size - w) // 2
    return Placement.of_photo(sample.size).resize((h, w)).pad(top, left, size - h - top, size - w - left)


def layout(grid: int = 14, patch: int = 16, registers: int = 4) -> TokenLayout:
    """CLS, registers, then the patches."""
    prefix = (Kind.CLS, *([Kind.REGISTER] * registers))
    weights = np.zeros(1 + registers + grid * grid)
    weights[0] = 1.0
    return TokenLayout.plain(
        prefix, (grid, grid), (patch, patch), (grid * patch,) * 2, readouts=(Readout("cls", weights),), source="measured"
    )


def provenance() -> Provenance:
    """A made-up run."""
    return Provenance(
        "builtin:photos", "0123456789abcdef", "resize 256 bicubic, centre crop 224, mean 0.5, std 0.5", "float32", "cpu", "sdpa", 0,
        {"torch": "2.13.0", "vitscope": "0.1.0"}, ("ab" * 32,),
    )  # fmt: skip


def blob(grid: int = 14, centre: tuple[float, float] = (5.0, 6.0), width: float = 2.2) -> np.ndarray:
    """A smooth hump on the patch grid, largest value 1."""
    y, x = np.indices((grid, grid))
    return np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2))


def token_map(method: str, placement: Placement, where: TokenLayout, values: np.ndarray, **known: object) -> TokenMap:
    """A map with these patch values and some mass on the prefix; rows that should sum to one do."""
    tokens = np.zeros(where.n)
    tokens[where.patches] = values.ravel()
    tokens[where.prefix] = np.abs(np.nan_to_num(values)).sum() * 0.35 / max(len(where.prefix), 1)
    if "sums to 1" in UNITS[method]:
        tokens /= np.nansum(tokens)
    return TokenMap(tokens[None].astype(np.float32), where, (placement,), method, UNITS[method], provenance(), **known)  # type: ignore[arg-type]


def four_maps(placement: Placement, where: TokenLayout) -> list[TokenMap]:
    """Attention, rollout, relevance and (signed) occlusion."""
    rng = np.random.default_rng(3)
    side = where.grid[0]
    rough = rng.random(where.grid) * 0.25
    signed = blob(side, (5, 5), 2) * 2.1 - blob(side, (10, 10), 1.6) * 1.3 + rng.normal(0, 0.05, where.grid)
    note = "mean of two read-outs: cls and distillation"
    return [
        token_map("attention", placement, where, blob(side) ** 2 + rough, layer=11, head="mean", query="pooled", notes=(note,)),
        token_map("rollout", placement, where, blob(side, width=4) + 0.4, query="pooled", parameters={"fuse": "mean", "residual": 0.5}),
        token_map("relevance", placement, where, blob(side, (4, 7), 1.5), target=("tabby, tabby cat",), meta={"trust": TRUST}),
        token_map("occlusion", placement, where, signed, target=("tabby, tabby cat",), signed=True),
    ]  # fmt: skip


def development(one: TokenMap, layers: int = 12) -> np.ndarray:
    """A map growing out of an even spread, layer by layer."""
    share = np.linspace(0, 1, layers)[:, None]
    values = np.asarray(one.values[0], dtype=np.float64)
    return share * values + (1 - share) * np.abs(values).mean() * (0.0 if one.signed else 1.0)


TOP = [("tabby, tabby cat", 0.612), ("tiger cat", 0.241), ("Egyptian cat", 0.097), ("lynx, catamount", 0.012), ("remote control", 0.004)]


def photo_view(sample: Sample | None = None, *, pad: bool = False, registers: int = 4, maps: int = 4) -> View:
    """A whole view of one photo, as the program would build it."""
    sample = chelsea() if sample is None else sample
    placement = padded(sample) if pad else cropped(sample)
    where = layout(registers=registers)
    shown = four_maps(placement, where)[:maps]
    fed = Fed(model_input(sample, placement), placement, where, provenance(), (-1.0, -1.0, -1.0), (0.98, 0.91, 0.87))
    return build_photo_view(sample, fed, TOP, shown, develop={i: development(m) for i, m in enumerate(shown)}, explain=WORDS)


def model_input(sample: Sample, placement: Placement) -> np.ndarray:
    """Nearest-neighbour input pixels, 0..1; grey where there is only padding."""
    h, w = placement.input_size
    y = (np.arange(h) + 0.5 - placement.offset[0]) / placement.scale[0]
    x = (np.arange(w) + 0.5 - placement.offset[1]) / placement.scale[1]
    height, width = sample.size
    inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]
    rows, columns = np.clip(y.astype(int), 0, height - 1), np.clip(x.astype(int), 0, width - 1)
    return np.where(inside[..., None], sample.photo[rows][:, columns] / 255.0, 0.5).astype(np.float32)
