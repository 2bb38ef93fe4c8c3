"""Variable grids (NaFlex): a padded sample is captured as the same sample without padding, and padding gets nothing."""

import numpy as np
import pytest
import torch
from PIL import Image

import vitscope as vs
from support.zoo import redraw
from vitscope.capture import intercept, prove_calls

PATCH, REAL, PADDED = 4, 6, 10


def siglip2():
    """transformers' SigLIP 2 tower and one sample of 2×3 patches, padded to so many."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Siglip2VisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=PATCH, num_patches=16
    )
    module = redraw(transformers.Siglip2VisionModel(config))

    def forward(x, real=REAL):
        mask = (torch.arange(x.shape[1]) < real).long()[None].expand(len(x), -1)
        shapes = torch.tensor([[2, 3]]).expand(len(x), -1)
        return module(pixel_values=x, pixel_attention_mask=mask, spatial_shapes=shapes).pooler_output

    return module, forward, 3 * PATCH * PATCH


def naflexvit():
    """timm's NaFlexViT on the same sample as a dictionary of patches."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = timm.create_model("naflexvit_base_patch16_gap", depth=2, embed_dim=32, num_heads=2, num_classes=5, patch_size=PATCH)
    redraw(module)

    def forward(x, real=REAL):
        valid = (torch.arange(x.shape[1]) < real)[None].expand(len(x), -1)
        y, column = torch.arange(x.shape[1]) // 3 % 2, torch.arange(x.shape[1]) % 3
        coordinates = torch.stack([y, column], dim=-1)[None].expand(len(x), -1, -1)
        return module({"patches": x, "patch_coord": coordinates, "patch_valid": valid})

    return module, forward, 3 * PATCH * PATCH


@pytest.mark.parametrize("family", [siglip2, naflexvit])
def test_a_padded_sample_is_the_same_sample(family):
    module, forward, width = family()
    real = torch.randn(1, REAL, width, generator=torch.Generator().manual_seed(0))
    padded = torch.cat([real, torch.randn(1, PADDED - REAL, width, generator=torch.Generator().manual_seed(1))], dim=1)
    with torch.no_grad(), intercept(module, batch=1) as bare:
        plain = forward(real)
    with torch.no_grad(), intercept(module, batch=1) as wide:
        same = forward(padded)
    assert torch.allclose(same, plain, atol=1e-5 * plain.abs().max())
    assert len(wide.calls) == len(bare.calls) >= 2
    for one, other in zip(wide.calls, bare.calls, strict=True):
        rows = one.rows(list(range(other.queries)))
        assert float(rows[..., other.keys :].abs().max()) == 0.0
        assert torch.allclose(rows[..., : other.keys], other.rows(), atol=1e-5)


@pytest.mark.parametrize("family", [siglip2, naflexvit])
def test_a_padded_sample_is_proved(family):
    module, forward, width = family()
    padded = torch.randn(2, PADDED, width, generator=torch.Generator().manual_seed(0))
    proof = prove_calls(module, forward, padded)
    assert proof.reconstruction.measured <= 1e-5
    with torch.no_grad():
        alone = torch.cat([forward(padded[:1]), forward(padded[1:])])
        assert torch.allclose(forward(padded), alone, atol=1e-5 * float(alone.abs().max()))


# through vs.load: a photo in its own shape, without padding; the library's own padded sample is what it must equal


def photo(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8))


def siglip2_loaded():
    """A classifier with transformers' own processor; its own answer pads every photo to 16 patches."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Siglip2Config(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "patch_size": PATCH,
            "num_patches": 16,
        },
        num_labels=5,
    )
    module = redraw(transformers.Siglip2ForImageClassification(config))
    processor = transformers.Siglip2ImageProcessor(patch_size=PATCH, max_num_patches=16)

    def padded(image):
        given = processor(image, return_tensors="pt")
        assert len(given["pixel_values"][0]) == 16
        return module(**given).logits, tuple(given["spatial_shapes"][0].tolist())

    return vs.load(module, processor=processor), padded, module


def naflexvit_loaded():
    """timm's NaFlexViT with its own NaFlex transform and collator."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    module = redraw(timm.create_model("naflexvit_base_patch16_gap", depth=2, embed_dim=32, num_heads=2, num_classes=5, patch_size=PATCH))
    model = vs.load(module, input_size=16, own_aspect=True)

    config = timm.data.resolve_data_config({"input_size": (3, 16, 16)}, model=module)
    transform = timm.data.create_transform(**config, naflex=True, patch_size=PATCH, max_seq_len=16, patchify=True)

    def padded(image):
        cut = transform(image)
        n = len(cut["patches"])
        fill = torch.full((1, 16 - n + 4, cut["patches"].shape[1]), 7.0)
        patches = torch.cat([cut["patches"][None], fill], dim=1)
        coord = torch.cat([cut["patch_coord"][None], torch.zeros(1, fill.shape[1], 2, dtype=cut["patch_coord"].dtype)], dim=1)
        valid = (torch.arange(patches.shape[1]) < n)[None]
        size = tuple((cut["patch_coord"].amax(dim=0) + 1).tolist())
        return module({"patches": patches, "patch_coord": coord, "patch_valid": valid}), size

    return model, padded, module


@pytest.mark.parametrize("size", [(60, 30), (30, 60), (40, 40), (90, 20)])
@pytest.mark.parametrize("family", [siglip2_loaded, naflexvit_loaded])
def test_a_photo_in_its_own_shape_is_the_librarys_padded_sample(family, size):
    model, padded, module = family()
    image = photo(*size)
    trace = model.trace(image)
    with torch.no_grad(), intercept(module, batch=1) as wide:
        expected, grid = padded(image)
    assert trace.layout.grid == tuple(grid)
    assert (grid[0] > grid[1]) == (size[1] > size[0])
    assert torch.allclose(trace.logits, expected, atol=1e-5 * float(expected.abs().max()))
    for one, other in zip(wide.calls, trace.calls, strict=True):
        rows = one.rows(list(range(other.queries)))
        assert torch.allclose(rows[..., : other.keys], other.rows(), atol=1e-5)
        assert float(rows[..., other.keys :].abs().sum()) == 0.0
    found = vs.rollout(trace)
    assert found.grid.shape == tuple(grid)
    assert found.values.sum() == pytest.approx(1, abs=1e-5)
    y0, x0, y1, x1 = trace.placements[0].seen
    assert (round(x1 - x0), round(y1 - y0)) == size
