"""Variable grids (NaFlex): a padded sample is captured as the same sample without padding, and padding gets nothing."""

import pytest
import torch

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
