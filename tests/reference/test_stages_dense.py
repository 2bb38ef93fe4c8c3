"""Swin, SwinV2, PVT and CvT of all libraries against one dense matrix over stage-0 patches, built by loops from the configuration alone."""

import numpy as np
import pytest
import torch

import vitscope as vs
from support import dense
from support.zoo import redraw
from vitscope.trace import Needs

DEPTHS, WINDOW = (2, 2), 3


def hf_swin(kind, height, width):
    transformers = pytest.importorskip("transformers")
    sizes = {"image_size": [height, width], "patch_size": 4, "embed_dim": 8, "depths": list(DEPTHS), "num_heads": [2, 2], "num_labels": 5}
    config = transformers.AutoConfig.for_model(kind, window_size=WINDOW, **sizes)
    return transformers.AutoModelForImageClassification.from_config(config)


def timm_swin(kind, height, width):
    timm = pytest.importorskip("timm")
    made = {"swin": timm.models.swin_transformer.SwinTransformer, "swinv2": timm.models.swin_transformer_v2.SwinTransformerV2}[kind]
    return made(img_size=(height, width), patch_size=4, embed_dim=8, depths=DEPTHS, num_heads=(2, 2), window_size=WINDOW, num_classes=5)


def torchvision_swin(kind, _height, _width):
    swin = pytest.importorskip("torchvision.models.swin_transformer")
    v2 = {"block": swin.SwinTransformerBlockV2, "downsample_layer": swin.PatchMergingV2} if kind == "swinv2" else {}
    return swin.SwinTransformer([4, 4], 8, list(DEPTHS), [2, 2], [WINDOW, WINDOW], num_classes=5, **v2)


LIBRARIES = {"transformers": hf_swin, "timm": timm_swin, "torchvision": torchvision_swin}


def window_of(library, kind, size, stage, block):
    """Window and shift of a block on a grid: what each library does where a grid is hardly larger than a window."""
    grid = tuple(-(-side // 2**stage) for side in size)
    moved = WINDOW // 2 if block % 2 else 0
    if library == "torchvision":
        return (WINDOW, WINDOW), tuple(0 if side <= WINDOW else moved for side in grid)
    if library == "timm":  # it knows the grids of whole pictures, halved and rounded up
        window = tuple(min(WINDOW, side) for side in grid)
        return window, tuple(0 if side <= w else moved for side, w in zip(grid, window, strict=True))
    if kind == "swin":  # one short side ends the shift of both
        return (WINDOW, WINDOW), (0, 0) if min(grid) <= WINDOW else (moved, moved)
    rows = size[0] // 2**stage  # transformers' SwinV2: the rows decide, halved and rounded down
    window = min(rows, WINDOW)
    return (window, window), (0, 0) if rows <= window else (moved, moved)


def whole(trace, library, kind, step, weights):
    """The dense product over all stages, ``[n_last, n_0]``."""
    grid, total, number = trace.layout.grid, None, 0
    for stage, depth in enumerate(DEPTHS):
        if stage:
            grid, merge = dense.halved(grid)
            total = merge @ total
        for block in range(depth):
            window, shift = window_of(library, kind, trace.layout.grid, stage, block)
            late = library == "timm"  # which shifts first and pads then
            at = lambda number, slot: dense.seat(grid, window, shift, number, slot, padded_late=late)  # noqa: B023, E731
            matrix = step(dense.scattered(weights(trace.blocks[number]), grid[0] * grid[1], at))
            total = matrix if total is None else matrix @ total
            number += 1
    return total


@pytest.mark.parametrize(("height", "width"), [(24, 24), (20, 28), (12, 20), (44, 52)], ids=["even", "odd", "3 by 5", "11 by 13"])
@pytest.mark.parametrize("kind", ["swin", "swinv2"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_windows_and_merging_equal_one_dense_matrix(library, kind, height, width):
    if (library, kind, height) == ("transformers", "swin", 12):
        pytest.skip("transformers' Swin itself fails on a grid smaller than its window")
    torch.manual_seed(0)
    model = vs.load(redraw(LIBRARIES[library](kind, height, width)).double(), input_size=(height, width))
    pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    trace = model.trace(pixels)
    assert not trace.unmapped, trace.unmapped
    assert trace.layout.grid == (height // 4, width // 4)
    found = vs.rollout(trace)[0]
    n = trace.stages.stages[-1].n
    start = torch.full((1, n), 1 / n, dtype=torch.float64)
    expected = (start @ whole(trace, library, kind, dense.rolled, dense.mean_heads))[0].numpy()
    assert np.abs(found.values[0] - expected).max() <= 1e-6
    assert found.meta["padding"] == pytest.approx(1 - expected.sum(), abs=1e-9)

    seen = model.trace(pixels, needs=Needs(gradients=True), target=1)
    expected = (start @ whole(seen, library, kind, dense.added, dense.weighted))[0].numpy()
    assert np.abs(vs.relevance(trace, target=1)[0].values[0] - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


# reduced keys and overlapping merges: kernel, stride and padding of the patch embeddings, and of the keys' reductions


def two_stages(**more):
    """Settings that transformers' PVT, PVTv2 and SegFormer share."""
    sizes = {"hidden_sizes": [8, 16], "depths": [1, 2], "num_attention_heads": [1, 2], "mlp_ratios": [2, 2], "strides": [4, 2]}
    return {"num_encoder_blocks": 2, "num_labels": 5, **sizes, **more}


def pvt(size):
    transformers = pytest.importorskip("transformers")
    made = two_stages(image_size=size[0], patch_sizes=[4, 2], sequence_reduction_ratios=[2, 1])
    return transformers.PvtForImageClassification(transformers.PvtConfig(**made))


def pvt_v2(size):
    transformers = pytest.importorskip("transformers")
    return transformers.PvtV2ForImageClassification(
        transformers.PvtV2Config(**two_stages(image_size=list(size), patch_sizes=[7, 3], sr_ratios=[2, 1]))
    )


def timm_pvt_v2(_size):
    timm = pytest.importorskip("timm")
    made = timm.models.pvt_v2.PyramidVisionTransformerV2
    return made(depths=(1, 2), embed_dims=(12, 16), num_heads=(1, 2), sr_ratios=(2, 1), mlp_ratios=(2, 2), num_classes=5)


def segformer(_size):
    transformers = pytest.importorskip("transformers")
    made = two_stages(patch_sizes=[7, 3], sr_ratios=[2, 1])
    return transformers.SegformerForImageClassification(transformers.SegformerConfig(**made))


def cvt(_size):
    transformers = pytest.importorskip("transformers")
    pairs = ("attention_drop_rate", "drop_rate", "drop_path_rate")
    config = transformers.CvtConfig(
        patch_sizes=[7, 3],
        patch_stride=[4, 2],
        patch_padding=[2, 1],
        embed_dim=[8, 16],
        num_heads=[1, 2],
        depth=[1, 2],
        mlp_ratio=[2.0, 2.0],
        qkv_bias=[True, True],
        cls_token=[False, True],
        qkv_projection_method=["dw_bn", "dw_bn"],
        kernel_qkv=[3, 3],
        padding_kv=[1, 1],
        stride_kv=[2, 2],
        padding_q=[1, 1],
        stride_q=[1, 1],
        num_labels=5,
        **{name: [0.0, 0.0] for name in pairs},
    )
    return transformers.CvtForImageClassification(config)


#: For each family: the model, first to last cell of a merged token, and of a reduced key in each stage (None: keys are tokens).
REDUCING = {
    "pvt": (pvt, (0, 1), ((0, 1), None)),
    "pvt_v2": (pvt_v2, (-1, 1), ((0, 1), None)),
    "timm pvt_v2": (timm_pvt_v2, (-1, 1), ((0, 1), None)),
    "segformer": (segformer, (-1, 1), ((0, 1), None)),
    "cvt": (cvt, (-1, 1), ((-1, 1), (-1, 1))),
}


def coarser(grid, reach):
    """The grid of a convolution 2 apart: padded, or with whole kernels only."""
    return tuple(-(-side // 2) if reach[0] < 0 else side // 2 for side in grid)


def reduced(grid, reach, cls):
    """Each key's tokens, after a cls token that is its own."""
    own = torch.eye(grid[0] * grid[1], dtype=torch.float64) if reach is None else dense.boxes(grid, coarser(grid, reach), *reach, 2)
    return torch.block_diag(torch.eye(cls, dtype=torch.float64), own)


@pytest.mark.parametrize("size", [(32, 32), (32, 48), (36, 36), (36, 44)], ids=["even", "wide", "odd", "odd and wide"])
@pytest.mark.parametrize("family", REDUCING)
def test_reduced_keys_and_merges_equal_one_dense_matrix(family, size):
    if family == "pvt" and size[0] != size[1]:
        pytest.skip("transformers' PVT takes square pictures only")
    make, merged, (early, late) = REDUCING[family]
    torch.manual_seed(0)
    trace = vs.load(redraw(make(size)).double(), input_size=size).trace(
        torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )
    assert not trace.unmapped, trace.unmapped
    first, second = (layout.grid for layout in trace.layouts)
    assert first == (size[0] // 4, size[1] // 4)
    assert second == coarser(first, merged)
    cls = trace.stages.stages[-1].n - second[0] * second[1]
    one, two, three = (dense.mean_heads(call)[0] for call in trace.blocks)
    row = torch.as_tensor(trace.layout.readouts[0].weights)[None]
    for matrix in (three, two):
        row = row @ dense.rolled(matrix @ reduced(second, late, cls))
    kept = float(row[:, :cls].sum())
    row = row[:, cls:] @ dense.boxes(first, second, *merged, 2) @ dense.rolled(one @ reduced(first, early, 0))
    found = vs.rollout(trace)[0]
    assert np.abs(found.values[0] - row[0].numpy()).max() <= 1e-6
    assert found.values.sum() == pytest.approx(1 - kept)
    assert found.meta["padding"] == pytest.approx(kept, abs=1e-9)
