"""The one pass: hidden states, gradients and layer scores against plain autograd; modes, batches, precision; what it refuses."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from support import handwritten
from support.explicit_attention import explicit_attention
from support.zoo import CASES, Built, redraw
from vitscope.capture import Blocks, find_blocks, run
from vitscope.capture.blocks import number_blocks
from vitscope.core.targets import Target
from vitscope.errors import CaptureError
from vitscope.trace import Needs

BY_ID = {case.id: case for case in CASES}
OWN = ["own:joined-fused", "own:separate-written", "own:multihead", "own:encoder", "own:sequence-first"]
TARGET = Target((1, 3))
EVERYTHING = Needs(hidden=True, gradients=True, layer_scores=True, pixel_gradients=True)


def built(name: str) -> Built:
    return BY_ID[name].build()


def everything(b: Built, **options):
    return run(b.module, b.call, b.pixels, needs=EVERYTHING, pick_target=lambda _: TARGET, **options)


def scored(logits: Tensor, target: Target = TARGET) -> Tensor:
    return sum(logits[i, c] for i, c in enumerate(target.index))


def block_outputs(b: Built, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits and block outputs through hooks of the test's own, in the graph."""
    blocks = b.module.get_submodule(find_blocks(b.module, b.call, b.pixels).paths[0].rpartition(".")[0])
    kept: list[Tensor] = []
    handles = [block.register_forward_hook(lambda _m, _a, out: kept.append(out)) for block in blocks]
    logits = b.call(pixels)
    for handle in handles:
        handle.remove()
    return logits, kept


@pytest.mark.parametrize("name", OWN)
def test_hidden_states_and_their_gradients(name):
    b = built(name)
    passed = everything(b)
    pixels = b.pixels.clone().requires_grad_()
    logits, hidden = block_outputs(b, pixels)
    *grads, at_pixels = torch.autograd.grad(scored(logits), [*hidden, pixels])
    if name == "own:sequence-first":
        hidden, grads = ([x.transpose(0, 1) for x in part] for part in (hidden, grads))
    for mine, theirs in zip(passed.hidden, hidden, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=0)
    for mine, theirs in zip(passed.hidden_grads, grads, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)
    torch.testing.assert_close(passed.pixel_grads, at_pixels, atol=1e-5 * float(at_pixels.abs().max()), rtol=0)
    torch.testing.assert_close(passed.logits, logits, atol=2e-6, rtol=0)


@pytest.mark.parametrize("name", OWN)
def test_layer_scores_are_gradients_of_the_tail_on_each_block(name):
    """∂s_l/∂A_l, one layer at a time: the tail taken apart by hand, autograd through the attention the model writes out."""
    b = built(name)
    passed = everything(b)
    twin = Built(b.module, b.forward, b.pixels, b.explicit)
    for layer, call in enumerate(passed.calls):

        def only_so_far(model: nn.Module, pixels: Tensor, layer: int = layer) -> Tensor:
            whole = getattr(model.blocks, "layers", model.blocks)
            later = list(whole)[layer + 1 :]
            handles = [block.register_forward_hook(lambda _m, args, _out: args[0]) for block in later]
            logits = model(pixels)
            for handle in handles:
                handle.remove()
            return logits

        explicit = explicit_attention(Built(twin.module, only_so_far, twin.pixels, twin.explicit))
        theirs = torch.autograd.grad(scored(explicit.logits), explicit.weights[layer])[0].reshape(call.rows().shape)
        mine = call.grad_rows(of="layer")
        torch.testing.assert_close(mine, theirs, atol=1e-5 * float(theirs.abs().max()), rtol=0)


def test_the_last_layers_own_score_is_the_models_score():
    passed = everything(built("hf:vit"))
    torch.testing.assert_close(passed.calls[-1].layer_grad, passed.calls[-1].grad_out)


@pytest.mark.parametrize("name", ["timm:vit_base_patch16_siglip_224", "hf:siglip"])
def test_an_attention_pool_is_given_for_every_layer(name):
    b = built(name)
    passed = everything(b)
    layers, pool = len(passed.block_paths), passed.calls[-1]
    assert pool.block is None
    assert len(passed.layer_pools) == layers
    torch.testing.assert_close(passed.layer_pools[-1].rows(), pool.rows(), atol=1e-6, rtol=0)
    torch.testing.assert_close(passed.layer_pools[-1].layer_grad, pool.grad_out, atol=1e-6, rtol=1e-4)
    assert not torch.allclose(passed.layer_pools[0].rows(), pool.rows(), atol=1e-3)
    assert all(call.grad_rows(of="layer").shape == pool.rows().shape for call in passed.layer_pools)


@pytest.mark.parametrize("name", ["timm:naflexvit_base_patch16_siglip", "timm:cait_xxs24_224"])
def test_layer_scores_through_every_kind_of_tail(name):
    passed = everything(built(name))
    last = [call for call in passed.calls if call.block is not None][-1]
    torch.testing.assert_close(last.grad_rows(of="layer"), last.grad_rows(), atol=1e-6, rtol=1e-4)


class FixedBatch(nn.Module):
    """A head that insists on the batch the pixels had."""

    def __init__(self) -> None:
        super().__init__()
        self.body = handwritten.stacked(handwritten.JoinedFused)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.body(pixels) + torch.zeros(len(pixels), handwritten.CLASSES)


def test_a_tail_that_takes_only_its_own_batch_gets_one_layer_after_the_other():
    module = redraw(FixedBatch())
    pixels = built("own:joined-fused").pixels
    mine = run(module, module, pixels, needs=EVERYTHING, pick_target=lambda _: TARGET)
    free = run(module.body, module.body, pixels, needs=EVERYTHING, pick_target=lambda _: TARGET)
    for one, other in zip(mine.calls, free.calls, strict=True):
        torch.testing.assert_close(one.layer_grad, other.layer_grad)


def test_frozen_parameters_do_not_matter_and_none_gets_a_gradient():
    b = built("own:joined-fused")
    free = everything(b)
    frozen = redraw(handwritten.stacked(handwritten.JoinedFused)).requires_grad_(requires_grad=False)
    passed = run(frozen, frozen, b.pixels, needs=EVERYTHING, pick_target=lambda _: TARGET)
    for one, other in zip(passed.calls, free.calls, strict=True):
        assert torch.equal(one.grad_out, other.grad_out)
    assert all(p.grad is None for p in [*b.module.parameters(), *frozen.parameters()])
    assert not b.pixels.requires_grad


def test_a_batch_is_its_pictures():
    b = built("hf:dinov2")
    both = everything(b)
    for i, one in enumerate(b.pixels):
        single = run(b.module, b.call, one[None], needs=EVERYTHING, pick_target=lambda _, i=i: Target((TARGET.index[i],)))
        for x, y in zip(single.calls, both.calls, strict=True):
            torch.testing.assert_close(x.rows()[0], y.rows()[i], atol=1e-6, rtol=0)
            torch.testing.assert_close(x.grad_rows()[0], y.grad_rows()[i], atol=1e-5 * float(y.grad_rows().abs().max()), rtol=0)


def test_one_class_rather_than_another():
    b = built("hf:vit")
    this, that, pair = (
        run(b.module, b.call, b.pixels, needs=Needs(gradients=True), pick_target=lambda _, t=t: t)
        for t in (Target((0, 1)), Target((2, 3)), Target((0, 1), (2, 3)))
    )
    for a, c, d in zip(this.calls, that.calls, pair.calls, strict=True):
        torch.testing.assert_close(d.grad_out, a.grad_out - c.grad_out, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_precision(dtype):
    module = redraw(handwritten.stacked(handwritten.JoinedFused)).to(dtype)
    pixels = built("own:joined-fused").pixels.to(dtype)
    passed = run(module, module, pixels, needs=EVERYTHING, pick_target=lambda _: TARGET)
    single = everything(built("own:joined-fused"))
    for call, full in zip(passed.calls, single.calls, strict=True):
        assert call.grad_out.dtype == dtype
        torch.testing.assert_close(call.rows().float(), full.rows(), atol=0.05 if dtype != torch.float64 else 1e-6, rtol=0)


@pytest.mark.parametrize("ambient", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_the_callers_mode_does_not_matter_and_is_back_afterwards(ambient):
    b = built("hf:vit")
    expected = everything(b)
    with ambient():
        pixels = b.pixels * 1.0
        modes = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        passed = run(b.module, b.call, pixels, needs=EVERYTHING, pick_target=lambda _: TARGET)
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == modes
    for x, y in zip(passed.calls, expected.calls, strict=True):
        assert torch.equal(x.grad_out, y.grad_out)


def test_no_graph_is_kept():
    b = built("own:joined-fused")
    roots = []

    def forward(pixels: Tensor) -> Tensor:
        logits = b.call(pixels)
        roots.append(weakref.ref(logits))
        return logits

    passed = run(b.module, forward, b.pixels, needs=EVERYTHING, pick_target=lambda _: TARGET)
    kept = [x for call in (*passed.calls, passed) for x in vars(call).values() if isinstance(x, Tensor)]
    kept += [*passed.hidden, *passed.hidden_grads]
    assert all(x.grad_fn is None and not x.requires_grad for x in kept)
    gc.collect()
    assert [root() for root in roots] == [None] * len(roots)


def test_forward_passes_are_counted():
    b = built("own:joined-fused")
    count = [0]

    def forward(pixels: Tensor) -> Tensor:
        count[0] += 1
        return b.call(pixels)

    blocks = find_blocks(b.module, forward, b.pixels)
    assert count == [1]
    run(
        b.module,
        forward,
        b.pixels,
        needs=Needs(hidden=True, gradients=True, pixel_gradients=True),
        pick_target=lambda _: TARGET,
        blocks=blocks,
    )
    assert count == [2], "hidden states and all gradients: one forward"
    run(b.module, forward, b.pixels, needs=EVERYTHING, pick_target=lambda _: TARGET, blocks=blocks)
    assert count == [4], "layer scores: one forward more"


@pytest.mark.parametrize("how", ["hidden", "removed", "masked", "layers"])
def test_another_thread_running_the_same_model_during_a_pass_is_left_alone(how):
    """The hooks of a pass sit on the shared module for a moment: elsewhere they must neither listen nor change anything."""
    b = built("own:joined-fused")
    plain = b.call(b.pixels)
    seen: list[Tensor] = []

    def forward(pixels: Tensor) -> Tensor:
        thread = threading.Thread(target=lambda: seen.append(b.call(b.pixels)))
        thread.start()
        thread.join()
        return b.call(pixels)

    keep = torch.ones(2, 17, dtype=torch.bool)
    keep[:, -4:] = False
    options = {
        "hidden": {"needs": Needs(hidden=True)},
        "removed": {"keep": keep},
        "masked": {"keep": keep, "drop": "masked"},
        "layers": {"needs": EVERYTHING, "pick_target": lambda _: TARGET},
    }[how]
    passed = run(b.module, forward, b.pixels, blocks=find_blocks(b.module, b.call, b.pixels), **options)
    assert seen
    assert all(torch.equal(logits, plain) for logits in seen)
    assert len(passed.calls) == handwritten.DEPTH
    assert len(passed.hidden) == (handwritten.DEPTH if how in ("hidden", "layers") else 0)


class NoGrad(nn.Module):
    """A model that turns autograd off for itself."""

    def __init__(self, mode) -> None:
        super().__init__()
        self.body, self.mode = redraw(handwritten.stacked(handwritten.JoinedFused)), mode

    def forward(self, pixels: Tensor) -> Tensor:
        with self.mode():
            return self.body(pixels)


class Checkpointed(handwritten.HandWritten):
    """Activation checkpointing around each block."""

    reentrant = False

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.embed(pixels).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], dim=1) + self.position
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=self.reentrant)
        return self.head(self.norm(x)[:, 0])


def refused(module: nn.Module, *, needs: Needs = EVERYTHING, match: str) -> None:
    with pytest.raises(CaptureError, match=match):
        run(module, module, built("own:joined-fused").pixels, needs=needs, pick_target=lambda _: TARGET)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_model_that_turns_autograd_off_cannot_give_gradients_but_gives_attention(mode):
    module = NoGrad(mode).eval()
    refused(module, match="torch.no_grad, torch.inference_mode")
    assert len(run(module, module, built("own:joined-fused").pixels).calls) == handwritten.DEPTH


def test_activation_checkpointing():
    module = Checkpointed(nn.ModuleList(handwritten.JoinedFused() for _ in range(3)))
    redraw(module)
    pixels = built("own:joined-fused").pixels
    plain = everything(built("own:joined-fused"))
    passed = run(module, module, pixels, needs=EVERYTHING, pick_target=lambda _: TARGET)
    for x, y in zip(passed.calls, plain.calls, strict=True):
        torch.testing.assert_close(x.grad_out, y.grad_out)
    module.reentrant = True
    refused(module, match="reentrant checkpointing")


def test_training_mode_is_refused():
    refused(redraw(handwritten.encoder()).train(), match=r"Dropout\(0.1\) is active.*model\.eval\(\)|MultiheadAttention\(0.1\) is active")
    batchnorm = nn.Sequential(nn.BatchNorm2d(3), redraw(handwritten.stacked(handwritten.JoinedFused))).train()
    before = batchnorm[0].running_mean.clone()
    refused(batchnorm, match="batch normalisation in training mode")
    assert torch.equal(batchnorm[0].running_mean, before)


def test_training_mode_without_anything_random_is_taken():
    module = redraw(handwritten.stacked(handwritten.JoinedFused)).train()
    run(module, module, built("own:joined-fused").pixels)
    assert module.training


def test_a_compiled_module_is_refused():
    module = redraw(handwritten.stacked(handwritten.JoinedFused))
    refused(torch.compile(module, backend="eager"), match=r"compiled.*model\._orig_mod")
    module.blocks[1].compile(backend="eager")
    refused(module, match=r"blocks\.1: this module is compiled")


class Flexible(nn.Module):
    """flex_attention compiles itself."""

    def forward(self, pixels: Tensor) -> Tensor:
        from torch.nn.attention.flex_attention import flex_attention

        tokens = pixels.flatten(2)[:, :, :64].reshape(len(pixels), 3, 8, 8)
        return flex_attention(tokens, tokens, tokens).mean(dim=(1, 2))


@pytest.mark.filterwarnings("ignore")
def test_flex_attention_is_refused_in_words():
    refused(Flexible(), needs=Needs(), match="cannot be heard|cannot be intercepted|no attention call was seen")


def test_no_attention_at_all_is_refused():
    refused(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)), match="no attention call was seen")


def test_gradients_want_logits_and_a_target():
    b = built("own:joined-fused")
    with pytest.raises(CaptureError, match="without class scores"):
        run(b.module, lambda x: (b.call(x), None)[1], b.pixels, needs=Needs(gradients=True), pick_target=lambda _: TARGET)
    with pytest.raises(CaptureError, match="without a target"):
        run(b.module, b.call, b.pixels, needs=Needs(gradients=True))


class Overwriting(handwritten.JoinedFused):
    """A block that writes over what the block before it gave."""

    def forward(self, x: Tensor) -> Tensor:
        return x.add_(super().forward(x))


def test_a_block_output_written_over_in_place_is_noticed():
    refused(redraw(handwritten.stacked(Overwriting)), needs=Needs(hidden=True), match="writes over the block's output")


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        (["layers.0.attn", "layers.1.attn", "pool"], ("layers.0", "layers.1")),
        (["block1.attn", "block2.attn"], ("block1", "block2")),
        (["body.blocks.0", "body.blocks.1"], ("body.blocks.0", "body.blocks.1")),
        (["body.blocks.0.attn.core"], ("body.blocks.0",)),
        (["a.0.x", "a.1.x", "b.0.x", "b.1.x", "b.2.x"], ("b.0", "b.1", "b.2")),
        (["a.0.x", "a.1.x", "b.0.x", "b.1.x"], ("a.0", "a.1")),
    ],
)
def test_block_numbers(calls, expected):
    assert number_blocks(tree(calls), calls).paths == expected


def tree(paths: list[str]) -> nn.Module:
    """A module with submodules at these paths; numbered children sit in lists."""
    root = nn.Module()
    for path in paths:
        at, names = root, path.split(".")
        for name, following in zip(names, [*names[1:], ""], strict=True):
            if name not in dict(at.named_children()):
                at.add_module(name, nn.ModuleList() if following.isdigit() else nn.Module())
            at = at.get_submodule(name)
    return root


def test_two_attentions_in_one_block_are_refused_in_words():
    paths = ["layers.0.one", "layers.0.two", "layers.1.one", "layers.1.two", "layers.2.one", "layers.2.two"]
    with pytest.raises(CaptureError, match=r"block 0 made 2 attention calls in one pass \(layers.0.one, layers.0.two\)"):
        number_blocks(tree(paths), paths)


def test_a_block_whose_attention_was_not_seen_is_named():
    paths = ["layers.0.attn", "layers.1.attn", "layers.2.attn"]
    with pytest.raises(CaptureError, match=r"layers: 1 of 3 blocks made no attention call that was seen \(1\)"):
        number_blocks(tree(paths), [paths[0], paths[2]])


def test_a_calls_block_number():
    blocks = Blocks(("layers.1", "layers.10"))
    assert [blocks.number(path) for path in ("layers.1.attn", "layers.10.attn", "layers.10", "pool")] == [0, 1, 1, None]


class NormedTokens(nn.Module):
    """A convolution, a batch norm, tokens in channels' places, attention, a mean."""

    def __init__(self, norm: nn.Module):
        super().__init__()
        self.cut, self.norm, self.qkv, self.head = nn.Conv2d(3, 8, 4, 4), norm, nn.Linear(8, 24), nn.Linear(8, 5)

    def forward(self, pixels: Tensor) -> Tensor:
        tokens = nn.functional.layer_norm(self.norm(self.cut(pixels)).flatten(2).transpose(1, 2), (8,))
        q, k, v = self.qkv(tokens)[:, None].chunk(3, dim=-1)
        return self.head(nn.functional.scaled_dot_product_attention(q, k, v)[:, 0].mean(dim=1))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(8), nn.InstanceNorm2d(8, affine=True)], ids=["batch norm", "instance norm"])
def test_a_norm_before_the_tokens_gives_one_picture_the_gradient_it_has_in_a_batch(norm):
    """On the CPU torch itself misreads that gradient for one picture alone."""
    torch.manual_seed(0)
    module = redraw(NormedTokens(norm)).double().eval()
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    needs = Needs(pixel_gradients=True)
    together = run(module, module, pixels, blocks=Blocks(("cut",)), needs=needs, pick_target=lambda _: Target((1, 1)))
    alone = run(module, module, pixels[:1], blocks=Blocks(("cut",)), needs=needs, pick_target=lambda _: Target((1,)))
    assert torch.allclose(alone.pixel_grads, together.pixel_grads[:1], atol=1e-12)
    moved, step = pixels[:1].clone(), 1e-6
    moved[0, 1, 9, 6] += step
    with torch.no_grad():
        slope = (module(moved) - module(pixels[:1]))[0, 1] / step
    assert float(alone.pixel_grads[0, 1, 9, 6]) == pytest.approx(float(slope), rel=1e-4)
