"""Models without a head: features, axes and likenesses as targets, against slow whole-matrix twins in float64."""

from functools import cache

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

import vitscope as vs
from support.zoo import redraw
from vitscope.errors import ArgumentError, MethodError
from vitscope.trace import Needs

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 32, "patch_size": 8}
PHOTOS = [np.random.default_rng(i).integers(0, 256, (40, 56, 3), dtype=np.uint8) for i in range(3)]
METHODS = ("gradient-rollout", "relevance", "grad-cam", "legrad", "integrated-gradients", "occlusion")


def vit(kernel="sdpa"):
    torch.manual_seed(0)
    module = transformers.ViTModel(transformers.ViTConfig(**SIZES, attn_implementation=kernel), add_pooling_layer=False)
    return redraw(module).double()


def dinov2(kernel="sdpa"):
    torch.manual_seed(0)
    return redraw(transformers.Dinov2Model(transformers.Dinov2Config(**SIZES, attn_implementation=kernel))).double()


def timm_pooled(kernel="sdpa"):
    import timm

    torch.manual_seed(0)
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 3, "num_heads": 2, "class_token": False, "global_pool": "avg"}
    module = timm.create_model("vit_tiny_patch16_224", pretrained=False, num_classes=0, **sizes)
    if kernel == "eager":
        for block in module.blocks:
            block.attn.fused_attn = False
    return redraw(module).double()


FAMILIES = {"vit": vit, "dinov2": dinov2, "timm": timm_pooled}


@cache
def loaded(family="vit"):
    given = {} if family == "timm" else {"mean": 0.5, "std": 0.5}
    return vs.load(FAMILIES[family](), **given)


def z_of(module, pixels):
    """What the model makes of pixels, ``[b, w]``."""
    out = module(pixels)
    if torch.is_tensor(out):
        return out
    return out.pooler_output if out.get("pooler_output") is not None else out.last_hidden_state[:, 0]


def scored(z, kind, other):
    """The score by its definition."""
    if kind == "feature":
        return z[:, 5]
    if kind == "like":
        return torch.stack([torch.dot(row, other) / (row.norm() * other.norm()) for row in z])
    return (z - other[0]) @ other[1]


def slow_relevance(family, pixels, kind, other):
    """Whole matrices and their gradients, from a twin that writes its attention out."""
    module, kept = FAMILIES[family]("eager"), []
    real = torch.nn.functional.softmax, torch.Tensor.softmax

    def remember(out):
        if out.dim() == 4 and not any(out is one for one in kept):
            out.retain_grad()
            kept.append(out)
        return out

    def wide(softmax):
        return lambda *a, **k: remember(softmax(*a, **{name: value for name, value in k.items() if name != "dtype"}))

    torch.nn.functional.softmax, torch.Tensor.softmax = map(wide, real)  # without the library's own rounding to float32
    try:
        z = z_of(module, pixels.clone().requires_grad_())
    finally:
        torch.nn.functional.softmax, torch.Tensor.softmax = real
    scored(z, kind, other).sum().backward()
    n = kept[0].shape[-1]
    r = torch.eye(n, dtype=torch.float64).expand(len(pixels), n, n)
    for a in kept:
        r = r + (a * a.grad).clamp(min=0).mean(dim=1).detach() @ r
    start = torch.full((n,), 1 / n, dtype=torch.float64) if family == "timm" else torch.eye(n, dtype=torch.float64)[0]
    return (start @ r).numpy()


def others(family, model, trace):
    """A target of each kind, and what the twin needs to score it."""
    like = vs.similar_to(model, PHOTOS[2])
    found = np.random.default_rng(0).normal(size=(5, 16))
    axis = vs.axis(found, 1)
    return {
        "feature": (vs.Feature(5), None),
        "like": (like, torch.as_tensor(like.vector)),
        "axis": (axis, (torch.as_tensor(axis.origin), torch.as_tensor(axis.direction))),
    }


@pytest.mark.parametrize("kind", ["feature", "like", "axis"])
@pytest.mark.parametrize("family", FAMILIES)
def test_score_relevance_and_occlusion_equal_the_slow_twin(family, kind):
    model = loaded(family)
    trace = model.trace(PHOTOS[:2])
    target, other = others(family, model, trace)[kind]
    wanted = scored(z_of(model.module, trace.pixels), kind, other).detach().numpy()
    found = vs.relevance(trace, target=target)
    slow = slow_relevance(family, trace.pixels, kind, other)
    assert np.abs(found.values - slow).max() <= 1e-9 * np.abs(slow).max()
    drops = vs.occlusion(trace, target=target)
    assert drops.parameters["drop"] in ("removed", "masked")
    gaps = vs.integrated_gradients(trace, target=target, steps=8)
    empty = scored(z_of(model.module, torch.zeros_like(trace.pixels)), kind, other).detach().numpy()
    assert np.abs(np.array(gaps.meta["change"]) - (wanted - empty)).max() < 1e-9


@pytest.mark.parametrize("family", ["vit", "timm"])
def test_occlusion_of_a_feature_is_the_model_without_that_token(family):
    model = loaded(family)
    trace = model.trace(PHOTOS[0])
    found = vs.occlusion(trace, target=vs.Feature(3)).grid.ravel()
    module, kept = model.module, [*range(trace.layout.n)]
    gone = int(trace.layout.patches[6])
    kept.remove(gone)
    first = module.blocks[0] if family == "timm" else module.layers[0] if hasattr(module, "layers") else module.encoder.layer[0]
    hook = first.register_forward_pre_hook(lambda _, args: (args[0][:, kept], *args[1:]))
    without = z_of(module, trace.pixels)[0, 3]
    hook.remove()
    assert found[6] == pytest.approx(float(z_of(module, trace.pixels)[0, 3] - without), abs=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_method_and_the_trust_checks_work_with_a_feature(family, method):
    from vitscope.methods import explain

    trace = loaded(family).trace(PHOTOS[:2])
    options = {"steps": 8} if method == "integrated-gradients" else {}
    one = explain(trace, method, vs.Feature(4), **options)
    assert one.target == ("feature 4",) * 2
    assert np.isfinite(one.values[:, trace.layout.patches]).all()
    checked = vs.check(trace, one)[0]
    for figures in checked.meta["trust"]:
        assert figures["hottest_drop"] is not None
        assert figures["target_swapped_to"].startswith("feature ")
    assert vs.check(trace[0], one[0])[0].meta["trust"]["hottest_drop"] == pytest.approx(checked.meta["trust"][0]["hottest_drop"], abs=1e-6)


def test_a_photo_is_like_itself():
    model = loaded("dinov2")
    trace = model.trace(PHOTOS[2])
    aim = trace.resolve(vs.similar_to(model, PHOTOS[2]))
    from vitscope.scoring import score

    assert float(score(trace.whole, aim)) == pytest.approx(1.0, abs=1e-6)  # features are kept as float32
    pair = trace.resolve((vs.similar_to(model, PHOTOS[2]), vs.similar_to(model, PHOTOS[0])))
    assert pair.names[0].startswith("similarity to")
    assert 0 < float(score(trace.whole, pair)) <= 2


def test_an_axis_of_stored_vectors_is_where_the_projection_put_the_photo(tmp_path):
    from vitscope.projection.pca import fit_pca
    from vitscope.projection.store import read_store
    from vitscope.scoring import score

    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    home = tmp_path / "model"
    torch.manual_seed(0)
    redraw(transformers.Dinov2Model(transformers.Dinov2Config(**SIZES))).save_pretrained(home)
    transformers.BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(home)
    from vitscope.cli import main

    main(["embed", str(folder), "--model", str(home), "--out", str(tmp_path / "e.parquet"), "--layer", "1", "--quiet"])
    from vitscope.api.aims import read_aim

    model = vs.load(str(home))
    target = read_aim(f"axis:1@{tmp_path / 'e.vectors'}", model)
    trace = model.trace([folder / "3.png", folder / "4.png"]).with_needs(Needs(hidden=True))
    aim = trace.resolve(target)
    store = read_store(tmp_path / "e.vectors")
    placed = fit_pca(store.matrix(1), 2).place(store.matrix(1))[3:5, 1]
    assert score(trace.whole, aim).numpy() == pytest.approx(placed, abs=1e-4)
    for make in (vs.relevance, vs.gradient_rollout, vs.grad_cam, vs.occlusion):
        one = make(trace, target=target)
        assert "axis 1" in one.target[0]
        assert np.isfinite(one.values[:, trace.layout.patches]).all()
    assert vs.check(trace, one)[0].meta["trust"][0]["hottest_drop"] is not None
    with pytest.raises(MethodError, match="use relevance"):
        vs.legrad(trace, target=target)
    other = vs.load(vit().float(), mean=0.5, std=0.5)
    with pytest.raises(ArgumentError, match=r"vectors of .*; expected of ViTModel"):
        read_aim(f"axis:1@{tmp_path / 'e.vectors'}", other)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (vs.Feature(16), "feature 16; expected 0 to 15"),
        ("feature:99", "feature 99; expected 0 to 15"),
        ("feature:a", "expected feature:NUMBER"),
        (vs.SimilarTo([1.0, 2.0]), "a vector of 2 numbers; expected 16"),
        (vs.SimilarTo([float("nan")] * 16), "16 not finite"),
        (vs.Axis(np.ones(16), block=1, kind="cls"), None),
        ("cat", "this model has no class scores; expected a feature"),
        (None, "this model has no class scores; expected a feature"),
        (vs.Pixel(1, 2), "this model scores no pixels"),
        (vs.Box(0), "this model gives no boxes"),
    ],
)
def test_what_cannot_be_explained_is_one_line(target, said):
    trace = loaded("timm" if said is None else "vit").trace(PHOTOS[0])
    with pytest.raises((ArgumentError, MethodError)) as error:
        vs.relevance(trace, target=target)
    assert "\n" not in str(error.value)
    assert (said or "CLS token or the mean") in str(error.value)


def test_a_feature_of_a_classifier_is_refused():
    module = transformers.ViTForImageClassification(transformers.ViTConfig(**SIZES, num_labels=3)).eval()
    trace = vs.load(module, mean=0.5, std=0.5).trace(PHOTOS[0])
    with pytest.raises(MethodError, match="gives no one vector of features; expected a label"):
        vs.relevance(trace, target=vs.Feature(1))


def test_the_command_explains_a_feature(tmp_path):
    from vitscope.api.explanation import Options, explain

    found = explain(PHOTOS[0], loaded("dinov2"), options=Options(target="feature:2"))
    assert {m.method for m in found.maps} == {"attention", "rollout", "relevance", "grad-cam"}
    assert all(m.target in ((), ("feature 2",)) for m in found.maps)
    vs.report(found.trace, list(found.maps), tmp_path / "out.html")
    assert "feature 2" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_attention_is_put_to_the_test_on_the_feature_asked_for():
    from vitscope.api.explanation import Options, explain

    found = explain(PHOTOS[0], loaded("dinov2"), ["attention", "rollout", "relevance"], Options(target="feature:2", check=True))
    for one in found.maps:
        trust = one.meta["trust"]
        assert trust["hottest_drop"] is not None
        assert "score points" in trust["sentence"]
    blind = vs.check(found.trace, vs.rollout(found.trace))[0].meta["trust"]
    assert blind["hottest_drop"] is None
    assert "without a target of its own" in blind["sentence"]
