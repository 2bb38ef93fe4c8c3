"""SAM, LeViT, TinyViT, Visformer, halo and bottleneck attention against one dense matrix, by loops from their configuration alone."""

import numpy as np
import pytest
import torch
from torch import nn

import vitscope as vs
from support import dense
from support.zoo import redraw
from vitscope.trace import Needs


def eye(n):
    return torch.eye(n, dtype=torch.float64)


def windowed(grid, side, late=False):
    """Cells by (window, slot) of unshifted windows; None on padding."""
    return lambda w, i: dense.seat(grid, (side, side), (0, 0), w, i, padded_late=late)


def scattered(grid, side, order=None):
    """A block's rows to its global matrix; ``order`` gives the number a cell has in the model's own order (its grid's by default)."""
    n = grid[0] * grid[1]
    return lambda rows: dense.scattered(rows, n, windowed(grid, side))


# a model: module, picture, steps in running order as in test_stages_pooled: ("block", rows → matrix, residual or None) or ("merge", matrix)


def samvit():
    """4×4 tokens in windows of 3: padded to 6×6; the second block is over all of them."""
    timm = pytest.importorskip("timm")
    made = timm.models.vision_transformer_sam.VisionTransformerSAM
    sizes = {"img_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2, "num_classes": 5, "neck_chans": 0}
    module = made(window_size=3, global_attn_indexes=(1,), **sizes)
    return module, (64, 64), [("block", scattered((4, 4), 3), eye(16)), ("block", lambda rows: rows[0], eye(16))]


def hf_levit():
    transformers = pytest.importorskip("transformers")
    config = transformers.LevitConfig(
        image_size=128,
        hidden_sizes=[16, 32, 48],
        num_attention_heads=[2, 2, 2],
        depths=[1, 2, 1],
        key_dim=[8, 8, 8],
        down_ops=[["Subsample", 8, 2, 2, 2, 2], ["Subsample", 8, 2, 2, 2, 2]],
        num_labels=5,
    )
    plain = lambda side: ("block", lambda rows: rows[0], eye(side * side))  # noqa: E731
    every = ("block", lambda rows: rows[0], None)
    return transformers.LevitForImageClassification(config), (128, 128), [plain(8), every, plain(4), plain(4), every, plain(2)]


def levit_conv():
    timm = pytest.importorskip("timm")
    made = timm.models.levit.Levit
    module = made(img_size=128, embed_dim=(16, 32, 48), key_dim=8, depth=(1, 2, 1), num_heads=(2, 2, 2), use_conv=True, num_classes=5)
    return module, (128, 128), hf_levit()[2]


def tiny_vit():
    """Convolutions on 16×16, then windows of 4 on 8×8 and of 4 on 4×4; merged by a 3×3 convolution 2 apart."""
    timm = pytest.importorskip("timm")
    module = timm.models.tiny_vit.TinyVit(
        embed_dims=(16, 16, 32), depths=(1, 2, 1), num_heads=(1, 2, 2), window_sizes=(4, 4, 4), num_classes=5
    )
    block = lambda side: ("block", scattered((side, side), 4), eye(side * side))  # noqa: E731
    return module, (64, 64), [block(8), block(8), ("merge", dense.boxes((8, 8), (4, 4), -1, 1, 2)), block(4)]


def visformer():
    """4×4 tokens and merged 2×2 ones, in channels' form, behind a stem of convolutions."""
    timm = pytest.importorskip("timm")
    module = timm.models.visformer.Visformer(
        img_size=64, init_channels=8, embed_dim=32, depth=(1, 2, 1), num_heads=2, attn_stage="011", num_classes=5
    )
    block = lambda side: ("block", lambda rows: rows[0], eye(side * side))  # noqa: E731
    return module, (64, 64), [block(4), block(4), ("merge", dense.boxes((4, 4), (2, 2), 0, 1, 2)), block(2)]


class Attending(nn.Module):
    """A layer of attention in channels' form with its own residual path, pooled where the layer strides."""

    def __init__(self, layer, stride=1):
        super().__init__()
        self.layer, self.pool = layer, nn.AvgPool2d(stride) if stride > 1 else nn.Identity()

    def forward(self, x):
        return self.pool(x) + self.layer(x)


class Cells(nn.Module):
    """8×8 cells of 8 pixels, layers of attention, the mean, a head."""

    def __init__(self, *layers):
        super().__init__()
        self.cut, self.layers, self.head = nn.Conv2d(3, 16, 8, 8), nn.Sequential(*layers), nn.Linear(16, 5)

    def forward(self, x):
        return self.head(self.layers(self.cut(x)).mean(dim=(2, 3)))


def halo():
    """Windows of 4×4 queries that also see a ring of 1 around: beyond the grid the ring is padding."""
    layers = pytest.importorskip("timm.layers.halo_attn")
    made = [Attending(layers.HaloAttn(16, num_heads=2, block_size=4, halo_size=1)) for _ in range(2)]

    def key(w, j):
        y, x = w // 2 * 4 - 1 + j // 6, w % 2 * 4 - 1 + j % 6
        return y * 8 + x if 0 <= y < 8 and 0 <= x < 8 else -1

    def matrix(rows):
        out, query = torch.zeros(64, 64, dtype=torch.float64), windowed((8, 8), 4)
        for w in range(4):
            for i in range(16):
                for j in range(36):
                    if key(w, j) >= 0:
                        out[query(w, i), key(w, j)] += rows[w, i, j]
        return out

    return Cells(*made), (64, 64), [("block", matrix, eye(64))] * 2


def bottleneck():
    """Over all 8×8 tokens; the second layer's results are pooled 2×2: a token asks as the four it is made of, in equal parts."""
    layers = pytest.importorskip("timm.layers.bottleneck_attn")
    made = [Attending(layers.BottleneckAttn(16, feat_size=(8, 8), num_heads=2, stride=stride), stride) for stride in (1, 2)]
    pooled = dense.boxes((8, 8), (4, 4), 0, 1, 2)
    return Cells(*made), (64, 64), [("block", lambda rows: rows[0], eye(64)), ("block", lambda rows: pooled @ rows[0], pooled)]


class Coarse(nn.Module):
    """Attention among 2×2 means, its results given to all four."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.pool, self.up = layer, nn.AvgPool2d(2), nn.Upsample(scale_factor=2)

    def forward(self, x):
        return x + self.up(self.layer(self.pool(x)))


def coarse():
    """8×8 tokens that ask and are asked as the 4×4 means they are parts of."""
    layers = pytest.importorskip("timm.layers.bottleneck_attn")
    made = [Coarse(layers.BottleneckAttn(16, feat_size=(4, 4), num_heads=2)) for _ in range(2)]
    means = dense.boxes((8, 8), (4, 4), 0, 1, 2)
    parts = (means > 0).double().T
    return Cells(*made), (64, 64), [("block", lambda rows: parts @ rows[0] @ means, eye(64))] * 2


MODELS = [samvit, hf_levit, levit_conv, tiny_vit, visformer, halo, bottleneck, coarse]


def through(vector, steps, calls, weights, block):
    """A row vector through all steps, last first."""
    calls = list(calls)
    for kind, *step in reversed(steps):
        vector = vector @ step[0] if kind == "merge" else vector @ block(step[0](weights(calls.pop())), step[1])
    assert not calls
    return vector


def traced(make, picture=0):
    torch.manual_seed(0)
    module, size, steps = make()
    model = vs.load(redraw(module, spread=0.9).double(), input_size=size)
    pixels = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(picture), dtype=torch.float64)
    trace = model.trace(pixels)
    assert not trace.unmapped, trace.unmapped
    return model, pixels, trace, steps


@pytest.mark.parametrize("make", MODELS)
def test_the_map_equals_one_dense_matrix(make):
    model, pixels, trace, steps = traced(make)
    n = trace.layouts[-1].n
    start = torch.full((1, n), 1 / n, dtype=torch.float64)
    half = lambda a, past: a if past is None else 0.5 * a + 0.5 * past  # noqa: E731
    expected = through(start, steps, trace.blocks, dense.mean_heads, half)[0].numpy()
    found = vs.rollout(trace)[0]
    assert np.abs(found.layout.to_grid(found.values)[0].ravel() - expected).max() <= 1e-6
    lost = 0.0 if trace.stages is None else found.meta["padding"]
    assert lost == pytest.approx(1 - expected.sum(), abs=1e-9)

    seen = model.trace(pixels, needs=Needs(gradients=True), target=1)
    whole = lambda a, past: a if past is None else a + past  # noqa: E731
    expected = through(start, steps, seen.blocks, dense.weighted, whole)[0].numpy()
    shown = vs.relevance(trace, target=1)[0]
    assert np.abs(shown.layout.to_grid(shown.values)[0].ravel() - expected).max() <= 1e-6 * max(1, np.abs(expected).max())


def test_padded_windows_say_what_goes_to_padding():
    _, _, trace, _ = traced(samvit)
    assert [call.seats.windows for call in trace.blocks] == [4, 1]
    for one in (vs.rollout(trace), vs.relevance(trace, target=1), vs.legrad(trace, target=1), vs.attention(trace, layer=0)):
        assert one[0].meta["padding"] > 1e-6


def test_legrad_over_windows_equals_the_slow_one():
    """Each block's score by the model's own head on that block's tokens; its gradient on window rows, scattered to one matrix."""
    model, pixels, trace, _ = traced(samvit)
    module = model.module
    expected = torch.zeros(16, dtype=torch.float64)
    for number, call in enumerate(trace.blocks):
        kept = {}
        hook = module.blocks[number].attn.register_forward_hook(lambda _m, _i, out, kept=kept: kept.update(out=out))
        with torch.enable_grad():
            tokens = module.blocks[number](entered(module, pixels, number).requires_grad_())
            score = module.forward_head(module.neck(tokens.permute(0, 3, 1, 2)))[0, 1]
            grad = torch.autograd.grad(score, kept["out"])[0] @ module.blocks[number].attn.proj.weight
        hook.remove()
        grad = grad.detach()
        heads = grad.reshape(len(call.out), call.queries, call.heads, -1).transpose(1, 2)
        rows = (heads @ call.v.transpose(-1, -2)).clamp(min=0).mean(dim=1)
        matrix = dense.scattered(rows, 16, windowed((4, 4), 3)) if number == 0 else rows[0]
        at = torch.full((16,), 1 / 16, dtype=torch.float64)
        expected += at @ matrix / 2
    found = vs.legrad(trace, target=1)[0]
    assert np.abs(found.values[0] - expected.numpy()).max() <= 1e-6 * max(1, float(expected.abs().max()))


def entered(module, pixels, number):
    """What a block is given."""
    kept = {}
    hook = module.blocks[number].register_forward_pre_hook(lambda _m, args: kept.update(x=args[0]))
    with torch.no_grad():
        module(pixels)
    hook.remove()
    return kept["x"].clone()


# deep stems


class Deep(Cells):
    """The same behind a stem of convolutions through which each token hears of the whole picture, the more the nearer."""

    def __init__(self, near, *layers):
        super().__init__(*layers)
        self.near, self.more = near, nn.ModuleList(nn.Conv2d(16, 16, 3, padding=1) for _ in range(8))

    def forward(self, x):
        x = self.cut(x)
        for more in self.more:
            x = self.near * x + more(x)
        return self.head(self.layers(x).mean(dim=(2, 3)))


def deep(near):
    layers = pytest.importorskip("timm.layers.bottleneck_attn")
    torch.manual_seed(0)
    made = [Attending(layers.BottleneckAttn(16, feat_size=(8, 8), num_heads=2, stride=stride), stride) for stride in (1, 2)]
    return redraw(Deep(near, *made), spread=0.9).double()


def test_behind_a_deep_stem_a_token_lies_where_it_hears_most():
    trace = vs.load(deep(2.0), input_size=(64, 64)).trace(torch.randn(1, 3, 64, 64, dtype=torch.float64))
    assert not trace.unmapped, trace.unmapped
    assert trace.layout.cells[:, 1:].tolist() == [[y, x] for y in range(8) for x in range(8)]
    pooled = dense.boxes((8, 8), (4, 4), 0, 1, 2)
    one, two = (dense.mean_heads(call)[0] for call in trace.blocks)
    expected = torch.full((1, 16), 1 / 16, dtype=torch.float64) @ (0.5 * pooled @ two + 0.5 * pooled) @ dense.rolled(one)
    found = vs.rollout(trace)[0]
    assert np.abs(found.values - expected[0].numpy()).max() <= 1e-6
    assert any("sees up to 100% of the picture" in note for note in found.notes)


def test_behind_a_stem_that_hears_of_everything_alike_nothing_is_guessed():
    why = vs.load(deep(0.0), input_size=(64, 64)).describe((64, 64))["why"]
    assert "whose views lie in no grid" in why


# transformers' backbones and Swin2SR


def rf_detr(windowed_blocks):
    transformers = pytest.importorskip("transformers")
    config = transformers.RfDetrDinov2Config(
        image_size=112, patch_size=14, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_windows=2, num_register_tokens=0
    )
    config.window_block_indexes = windowed_blocks
    return transformers.RfDetrDinov2Backbone(config)


@pytest.mark.parametrize("blocks", [[0], [0, 1]], ids=["one over all", "windows only"])
def test_windows_with_a_cls_token_each_equal_one_dense_matrix(blocks):
    """8×8 tokens in 2×2 windows of 4×4, each behind a cls token of its own."""
    torch.manual_seed(0)
    model = vs.load(redraw(rf_detr(blocks), spread=0.9).double(), input_size=(112, 112))
    trace = model.trace(torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert not trace.unmapped, trace.unmapped

    def place(token):
        window, slot = divmod(token, 17)
        return None if slot == 0 else (window // 2 * 4 + (slot - 1) // 4, window % 2 * 4 + (slot - 1) % 4)

    vector = torch.zeros(1, 68, dtype=torch.float64)
    vector[0, next(t for t in range(68) if place(t) == (5, 2))] = 1.0
    for number, call in reversed(list(enumerate(trace.blocks))):
        rows = dense.mean_heads(call)
        vector = vector @ dense.rolled(torch.block_diag(*rows) if number in blocks else rows[0])
    found = vs.rollout(trace, query=(5, 2))[0]
    grid = found.layout.to_grid(found.values)[0]
    for token in range(68):
        if place(token) is not None:
            assert grid[place(token)] == pytest.approx(float(vector[0, token]), abs=1e-6)
    assert found.values.sum() == pytest.approx(1)


def test_swin_for_super_resolution_equals_one_dense_matrix():
    """One grid throughout; between groups of blocks a convolution over 3×3 tokens, and a skip connection beside the map."""
    transformers = pytest.importorskip("transformers")
    config = transformers.Swin2SRConfig(
        image_size=12, window_size=4, embed_dim=8, depths=[2, 2], num_heads=[2, 2], mlp_ratio=2.0, upscale=2, patch_size=1
    )
    torch.manual_seed(0)
    model = vs.load(redraw(transformers.Swin2SRModel(config), spread=0.9).double(), input_size=(12, 12))
    trace = model.trace(torch.randn(1, 3, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64))
    assert not trace.unmapped, trace.unmapped
    near = dense.boxes((12, 12), (12, 12), -1, 1, 1)
    vector = torch.zeros(1, 144, dtype=torch.float64)
    vector[0, 5 * 12 + 7] = 1.0
    for number, call in reversed(list(enumerate(trace.blocks))):
        shift = (2, 2) if number % 2 else (0, 0)
        at = lambda w, i, shift=shift: dense.seat((12, 12), (4, 4), shift, w, i)  # noqa: E731
        vector = vector @ dense.rolled(dense.scattered(dense.mean_heads(call), 144, at))
        vector = vector @ near if number == 2 else vector
    found = vs.rollout(trace, query=(5, 7))[0]
    assert np.abs(found.grid.ravel() - vector[0].numpy()).max() <= 1e-6
    assert any("skip connection" in note for note in found.notes)


def test_tokens_merged_with_strangers_are_refused():
    """transformers' HieraBackbone pools before it puts its tokens in the order that its pooling expects: rows 0, 4, 8 and 12 become one."""
    transformers = pytest.importorskip("transformers")
    config = transformers.HieraConfig(image_size=[64, 64], embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 4, 8])
    why = vs.load(redraw(transformers.HieraBackbone(config)), input_size=(64, 64)).describe((64, 64))["why"]
    assert "merged tokens are made of rows with others between them (0, 4, 8, 12)" in why


def test_a_residual_path_outside_the_measured_module_is_refused():
    class Outside(nn.Module):
        def __init__(self):
            super().__init__()
            self.cut, self.attn, self.head = nn.Conv2d(3, 16, 8, 8), nn.ModuleList(Alone() for _ in range(2)), nn.Linear(16, 5)

        def forward(self, x):
            tokens = self.cut(x).flatten(2).transpose(1, 2)
            for attn in self.attn:
                tokens = nn.functional.avg_pool1d((tokens + attn(tokens)).transpose(1, 2), 1).transpose(1, 2)
            return self.head(tokens.mean(dim=1))

    class Alone(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(16, 48)

        def forward(self, tokens):
            q, k, v = self.qkv(tokens).view(-1, 16, 48).chunk(3, dim=-1)  # windows of 16 tokens: not one grid throughout
            return nn.functional.scaled_dot_product_attention(q, k, v).reshape(tokens.shape)

    why = vs.load(redraw(Outside()), input_size=(64, 64)).describe((64, 64))["why"]
    assert "comes past this attention, outside the module that was measured" in why
