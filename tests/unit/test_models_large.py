"""Large models: half precision, parts kept elsewhere, fewer bits; what a pass keeps, the limit, activations moved out."""

import copy

import numpy as np
import pytest
import torch
import transformers
from torch.autograd.graph import saved_tensors_hooks

import vitscope as vs
from support.zoo import CASES, redraw
from vitscope.capture import intercept
from vitscope.core.memory import bytes_of, in_words
from vitscope.core.targets import Target
from vitscope.errors import ArgumentError, CaptureError, MissingExtra, ModelError
from vitscope.methods import METHODS, explain
from vitscope.trace import Needs

SIZES = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 128, "image_size": 64, "patch_size": 8}
PIXELS = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
BACK = Needs(gradients=True, hidden=True)
EVERYTHING = Needs(gradients=True, hidden=True, layer_scores=True, pixel_gradients=True)


def vit(**more):
    torch.manual_seed(0)
    return redraw(transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, num_labels=5, **more)), spread=0.7)


def loaded(**given):
    return vs.load(vit(), mean=0.5, std=0.5, **given)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("vit")
    vit().save_pretrained(home)
    transformers.ViTImageProcessor(size={"height": 64, "width": 64}).save_pretrained(home)
    return home


def map_of(trace, method):
    return explain(trace, method, **({"steps": 4} if method == "integrated-gradients" else {}))


# precision


@pytest.mark.parametrize(("dtype", "tolerance", "near"), [("float16", 2e-2, 0.99), ("bfloat16", 2e-2, 0.9)])
def test_half_precision_is_proved_within_its_own_tolerance(folder, dtype, tolerance, near):
    model, whole = vs.load(str(folder), dtype=dtype), vs.load(str(folder))
    proof = model.prove()
    assert proof.reconstruction.tolerance == tolerance
    assert f"{dtype}" in str(model._placed(PIXELS).dtype)
    assert 0 < proof.reconstruction.measured <= tolerance
    trace, exact = model.trace(PIXELS), whole.trace(PIXELS)
    call = trace.blocks[1]
    slow = torch.softmax(call.q.double() @ call.k.double().transpose(-1, -2) * call.scale, dim=-1)
    assert (call.rows() - slow).abs().max() < 1e-6  # rows are made in float32 from what the kernel was given
    for method in ("rollout", "relevance", "grad-cam"):
        one, other = map_of(trace, method).values, map_of(exact, method).values
        both = ~np.isnan(other)
        assert np.corrcoef(one[both], other[both])[0, 1] > near
        assert one.dtype == np.float32


# what a pass keeps


def measured(module, forward, pixels, needs, blocks):
    """The same by a real pass: what autograd saves and what is captured, each memory once."""
    own = {x.untyped_storage().data_ptr() for x in (*module.parameters(), *module.buffers())}
    graph, outputs, alive = {}, [], []

    def pack(x):
        alive.append(x)
        graph[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    hooks = [
        module.get_submodule(p).register_forward_hook(lambda _, __, out: outputs.append(out if torch.is_tensor(out) else out[0]))
        for p in blocks
    ]
    backward = needs.gradients
    pixels = pixels.clone().requires_grad_(backward)
    with torch.set_grad_enabled(backward), saved_tensors_hooks(pack, lambda x: x), intercept(module, batch=len(pixels)) as recorder:
        made = forward(pixels)
    for hook in hooks:
        hook.remove()
    calls = [x for c in recorder.heard for x in (c.q, c.k, c.v, c.out, c.weights)]
    kept = {
        x.untyped_storage().data_ptr(): x.untyped_storage().nbytes()
        for x in (pixels, made, *(outputs if needs.hidden else ()), *calls)
        if x is not None
    }
    kept = {key: size for key, size in kept.items() if key not in own}
    more = sum(c.out.numel() * c.out.element_size() for c in recorder.heard) if backward else 0
    more += sum(z.numel() * z.element_size() for z in outputs) if backward and needs.hidden else 0
    return sum(kept.values()) + more, sum(size for key, size in graph.items() if key not in kept and key not in own)


@pytest.mark.parametrize("needs", [Needs(), Needs(gradients=True), BACK], ids=["plain", "gradients", "hidden"])
@pytest.mark.parametrize("batch", [1, 2])
def test_what_a_pass_keeps_is_known_beforehand_to_the_byte(needs, batch):
    model = loaded()
    found = model.footprint((batch, 3, 64, 64), needs)
    real = measured(model.module, lambda x: model.module(x).logits, PIXELS[:batch], needs, model.facts().blocks.paths)
    assert (found.captured, found.graph) == real


def test_it_is_known_for_every_family_of_the_table_or_said_not_to_be():
    from vitscope.capture.footprint import footprint

    for case in [*CASES[::6], *(c for c in CASES if c.name == "separate-written")]:  # the last: by its calls, as it is followed on values
        built = case.build()
        hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in built.module.modules()]
        found = footprint(built.module, built.call, built.pixels, Needs(gradients=True), attention=1)
        assert found.captured > 0
        assert found.graph > 0
        assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in built.module.modules()]
    model = loaded()
    card = model.describe()["passes"]
    assert card["plain"] < card["offloaded"] < card["gradients"]

    class Odd(torch.nn.Module):
        def forward(self, x):
            return x if float(x.sum()) > 0 else -x

    with pytest.raises(CaptureError, match="what a pass keeps cannot be known before it runs"):
        footprint(Odd(), Odd(), PIXELS, Needs())


def really(run):
    """Bytes allocated at the fullest moment of a run, by torch's own profiler."""
    from torch.profiler import ProfilerActivity, profile

    run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    now = most = 0
    for event in sorted(seen.profiler.kineto_results.events(), key=lambda e: e.start_ns()):
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return most


@pytest.mark.parametrize("needs", [Needs(), Needs(gradients=True), BACK], ids=["plain", "gradients", "hidden"])
@pytest.mark.parametrize("kernel", ["sdpa", "eager"])
def test_what_is_in_use_at_the_fullest_moment_is_known_beforehand(kernel, needs):
    from vitscope.capture.run import run

    model = vs.load(vit(attn_implementation=kernel), mean=0.5, std=0.5)
    blocks = model.facts().blocks

    def one_pass():
        run(model.module, lambda x: model.module(x).logits, PIXELS, needs=needs, blocks=blocks, pick_target=lambda made: Target((0, 1)))

    real = really(one_pass) + (0 if needs.gradients else PIXELS.numel() * 4)
    said = model.fullest(tuple(PIXELS.shape), needs)
    assert 0.95 * real < said < (1.1 if kernel == "sdpa" else 1.6) * real  # written out: an upper bound


def test_a_pass_beyond_the_limit_is_refused_before_it_runs():
    free = loaded()
    need, most = free.footprint((2, 3, 64, 64), BACK), free.fullest((2, 3, 64, 64), BACK)
    most_moved = free.fullest((2, 3, 64, 64), BACK, moved=True)
    assert need.captured < most_moved < most
    fits, short = loaded(memory=max(most, need.whole)), loaded(memory=most - 1)
    assert np.array_equal(vs.grad_cam(fits.trace(PIXELS, BACK)).values, vs.grad_cam(free.trace(PIXELS, BACK)).values, equal_nan=True)
    short.study()
    ran = []
    hook = short.module.register_forward_pre_hook(lambda _, args: ran.extend(type(x) is torch.Tensor for x in args))
    line = (
        r"a pass over 2 photos of 64×64 px with gradients would keep .* in use at its fullest; expected at most .* \(memory\); "
        r"give fewer photos at once or a smaller input"
    )
    with pytest.raises(CaptureError, match=line) as refused:
        short.trace(PIXELS, BACK)
    hook.remove()
    assert True not in ran  # the passes on shapes alone
    assert f"then {in_words(most_moved)} at its fullest" in str(refused.value)
    assert len(short.trace(PIXELS[:1], BACK)) == 1
    moved = loaded(memory=most_moved, offload="disk")
    assert np.array_equal(vs.grad_cam(moved.trace(PIXELS, BACK)).values, vs.grad_cam(free.trace(PIXELS, BACK)).values, equal_nan=True)
    with pytest.raises(CaptureError, match="would keep"):
        loaded(memory=most_moved - 1, offload="disk").trace(PIXELS, BACK)


@pytest.mark.parametrize("name", [m.name for m in METHODS.values()])
def test_with_activations_on_disk_every_map_is_the_same_to_the_bit(name, monkeypatch):
    from vitscope.capture import offload

    monkeypatch.setattr(offload, "SMALL", 1024)
    written = []
    real = offload._Files.write
    monkeypatch.setattr(offload._Files, "write", lambda self, x: written.append(self.folder) or real(self, x))
    plain, moved = map_of(loaded().trace(PIXELS), name), map_of(loaded(offload="disk").trace(PIXELS), name)
    assert plain.values.tobytes() == moved.values.tobytes()
    assert bool(written) == METHODS[name].class_specific or name == "occlusion"
    assert not any(place.exists() for place in written)


def test_activations_on_disk_bring_the_same_trace():
    a, b = loaded().trace(PIXELS, EVERYTHING), loaded(offload="disk").trace(PIXELS, EVERYTHING)
    assert torch.equal(a.pixel_grads, b.pixel_grads)
    assert all(torch.equal(x, y) for x, y in zip(a.hidden_grads, b.hidden_grads, strict=True))
    assert all(torch.equal(x.layer_grad, y.layer_grad) for x, y in zip(a.blocks, b.blocks, strict=True))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"memory": "much"}, "memory 'much'; expected a number of bytes, or 500MB, 2GB"),
        ({"memory": 0}, "memory 0; expected"),
        ({"offload": "moon"}, "offload 'moon'; expected cpu or disk"),
    ],
)
def test_wrong_limits_are_one_line(given, said):
    with pytest.raises((ArgumentError, ModelError)) as error:
        loaded(**given)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_activations_of_a_pass_on_the_cpu_cannot_move_there():
    with pytest.raises(ArgumentError, match="offload='cpu' for a pass on the CPU; expected disk"):
        loaded(offload="cpu").trace(PIXELS, BACK)


def test_amounts():
    assert [bytes_of(x) for x in ("2GB", "500 mb", "1.5GiB", 77)] == [2 * 10**9, 500 * 10**6, 1_610_612_736, 77]
    assert [in_words(x) for x in (12, 1500, 123456, 2.5e9, 3e13)] == ["12 B", "1.5 kB", "123 kB", "2.5 GB", "30.0 TB"]


def test_the_command_refuses_and_the_card_says_what_a_pass_keeps(folder, tmp_path, capsys):
    from PIL import Image

    from vitscope.cli import main

    Image.fromarray(np.full((64, 64, 3), 99, dtype=np.uint8)).save(tmp_path / "p.png")
    asked = ["explain", str(tmp_path / "p.png"), "--model", str(folder), "--out", str(tmp_path / "o.html")]
    with pytest.raises(SystemExit) as stopped:
        main([*asked, "--memory", "10kB"])
    assert stopped.value.code == 1
    line = capsys.readouterr().err
    assert "would keep" in line
    assert line.count("\n") == 1
    main([*asked, "--memory", "50MB", "--offload", "disk", "--quiet"])
    main(["inspect", str(folder)])
    assert "  a pass           " in capsys.readouterr().out


# parts kept elsewhere, fewer bits


def elsewhere(folder, offload_folder):
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    kept = {"vit.embeddings": "cpu", "vit.layers.0": "cpu", "vit.layers.1": "disk", "vit.layers.2": "disk", "vit.layernorm": "cpu"}
    return {"device_map": {**kept, "classifier": "cpu"}, "offload_folder": str(offload_folder)}


def parts_of(module):
    """Where every weight is, and which function every module runs."""
    return [(n, p.device.type, id(m.__dict__.get("forward"))) for m in module.modules() for n, p in m.named_parameters(recurse=False)]


def test_a_model_whose_parts_are_on_disk_gives_the_same_maps_and_is_left_as_it_was(folder, tmp_path):
    model, plain = vs.load(str(folder), **elsewhere(folder, tmp_path)), vs.load(str(folder))
    module = model.module
    before = parts_of(module)
    assert {device for _, device, _ in before} >= {"meta"}
    assert model.weights_fingerprint() == plain.weights_fingerprint()
    assert model.prove() is not None
    one, other = model.trace(PIXELS), plain.trace(PIXELS)
    for name in ("attention", "rollout", "relevance", "grad-cam", "legrad", "occlusion"):
        mine, theirs = map_of(one, name).values, map_of(other, name).values
        assert np.nanmax(np.abs(mine - theirs)) <= 1e-5 * max(1.0, np.nanmax(np.abs(theirs)))
    trust = vs.check(one, vs.relevance(one))[0].meta["trust"][0]
    assert trust["redrawn_weights_similarity"] is None  # weights on disk are not re-drawn
    assert before == parts_of(module)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in module.modules())


def test_eight_bits(folder):
    pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    pytest.importorskip("accelerate", reason="accelerate is not installed")
    model, plain = vs.load(str(folder), quantize="8bit", dtype="float32"), vs.load(str(folder))
    assert torch.int8 in {p.dtype for p in model.module.parameters()}
    model.prove()
    one, other = model.trace(PIXELS), plain.trace(PIXELS)
    mine, theirs = vs.relevance(one, target=1), vs.relevance(other, target=1)
    assert np.corrcoef(mine.values.ravel(), theirs.values.ravel())[0, 1] > 0.99
    assert vs.check(one, mine)[0].meta["trust"][0]["redrawn_weights_similarity"] is None


def test_what_is_not_installed_or_not_there_is_one_line(folder, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MissingExtra, match=r"accelerate is not installed.*vitscope\[large\]"):
        vs.load(str(folder), device_map="auto")
    with pytest.raises(ModelError, match="device beside device_map"):
        vs.load(str(folder), device_map="auto", device="cpu")
    with pytest.raises(ModelError, match="option device_map"):
        vs.load(copy.deepcopy(vit()), device_map="auto")


def test_the_command_places_parts_and_takes_fewer_bits(folder, tmp_path, capsys, monkeypatch):
    import sys

    from PIL import Image

    from vitscope.cli import main

    pytest.importorskip("accelerate", reason="accelerate is not installed")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "p.png")
    asked = ["explain", str(tmp_path / "p.png"), "--model", str(folder), "--method", "relevance", "--quiet", "--out"]

    def grid(name, *more):
        main([*asked, str(tmp_path / name), *more])
        with np.load(tmp_path / name) as kept:
            return kept["grid"]

    assert np.array_equal(grid("a.npz", "--device-map", "cpu"), grid("b.npz"))

    def refused(*more):
        with pytest.raises(SystemExit):
            main([*asked, str(tmp_path / "c.npz"), *more])
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        return line

    assert "--device beside --device-map or --quantize" in refused("--device-map", "auto", "--device", "cuda")
    assert "quantize '3bit'; expected 8bit, 4bit" in refused("--quantize", "3bit")
    assert "option dtype, quantize; expected input_size" in refused("--quantize", "8bit", "--model", "timm:vit_tiny_patch16_224")
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    assert "bitsandbytes is not installed" in refused("--quantize", "8bit")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    assert "accelerate is not installed" in refused("--device-map", "auto")
