"""Two-tower models: texts as targets and as classes, against the models' own scores and a slow twin in float64."""

import copy
from functools import cache

import numpy as np
import pytest
import tokenizers
import torch
import transformers as hf
from PIL import Image

import vitscope as vs
from support.zoo import redraw
from vitscope.errors import ArgumentError, MethodError, ModelError, ProofError
from vitscope.scoring import score
from vitscope.trace import Needs

WORDS = ["a", "photo", "of", "cat", "dog", "the", "sky", "two"]
TEXTS = ["a photo of a cat", "two dog", "the sky"]
PHOTOS = [np.random.default_rng(i).integers(0, 256, (40, 56, 3), dtype=np.uint8) for i in range(2)]
VISION = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "image_size": 32, "patch_size": 8}
TEXT = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 16}
TEXT |= {"max_position_embeddings": 12, "bos_token_id": 1, "eos_token_id": 15, "pad_token_id": 0}
KINDS = {"clip": "CLIP", "siglip": "Siglip", "siglip2": "Siglip2", "metaclip2": "MetaClip2", "clipseg": "CLIPSeg"}
KINDS |= {"chinese": "ChineseCLIP", "aimv2": "Aimv2", "blip": "Blip"}


def tokenizer():
    vocab = {"[PAD]": 0, "[BOS]": 1, "[UNK]": 2, **{word: 3 + i for i, word in enumerate(WORDS)}, "[EOS]": 15}
    own = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="[UNK]"))
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    own.post_processor = tokenizers.processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=[("[BOS]", 1), ("[EOS]", 15)])
    return hf.PreTrainedTokenizerFast(tokenizer_object=own, pad_token="[PAD]", eos_token="[EOS]", bos_token="[BOS]", unk_token="[UNK]")


def towers(kind, kernel="sdpa"):
    torch.manual_seed(0)
    vision = VISION | ({"num_patches": 16} if kind == "siglip2" else {})
    shared = {"projection_dim": 8, "attn_implementation": "eager" if kind == "blip" else kernel}
    text = TEXT | ({"projection_size": 16} if kind.startswith("siglip") else {})
    config = getattr(hf, f"{KINDS[kind]}Config")(vision_config=vision, text_config=text, **shared)
    return redraw(getattr(hf, f"{KINDS[kind]}Model")(config))


@cache
def loaded(kind="clip", labels=None):
    return vs.load(towers(kind), mean=0.5, std=0.5, tokenizer=tokenizer(), labels=None if labels is None else list(labels))


def ids(kind, texts=TEXTS):
    padding = {"padding": "max_length", "max_length": 12} if kind.startswith("siglip") else {"padding": True}
    made = tokenizer()(texts, return_tensors="pt", **padding)
    return {name: made[name] for name in ("input_ids", "attention_mask")}


def whole(module, pixels, tokens):
    """The model's own scores, both towers in one pass."""
    if isinstance(module, hf.Siglip2Model):
        b, gh, gw = len(pixels), pixels.shape[2] // 8, pixels.shape[3] // 8
        cut = pixels.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 4, 5, 1).reshape(b, gh * gw, -1)
        shapes, mask = torch.tensor([[gh, gw]] * b), torch.ones(b, gh * gw, dtype=torch.int32)
        given = {"pixel_values": cut, "pixel_attention_mask": mask, "spatial_shapes": shapes}
    else:
        given = {"pixel_values": pixels}
    return module(**given, **tokens).logits_per_image


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_scores_what_the_model_itself_gives_it(kind):
    model = loaded(kind)
    trace = model.trace(PHOTOS)
    with torch.no_grad():
        own = whole(model.module, trace.pixels, ids(kind))
    assert trace.logits is None
    for j, text in enumerate(TEXTS):
        found = score(trace.whole, trace.resolve(vs.Text(text)))
        assert found.tolist() == pytest.approx(own[:, j].tolist(), abs=1e-5 * max(1.0, float(own.abs().max())))
    classes = loaded(kind, tuple(TEXTS)).trace(PHOTOS)
    assert torch.allclose(classes.logits, own, atol=1e-5 * max(1.0, float(own.abs().max())), rtol=0)
    first = own[0].softmax(dim=0)
    assert classes.top(3)[0] == (TEXTS[int(first.argmax())], pytest.approx(float(first.max()), abs=1e-5))


def slow_relevance(pixels, texts, against):
    """Whole matrices and their gradients, in float64, from a twin that writes its attention out and is given the texts as they are."""
    twin, kept = towers("clip", "eager").double(), []
    with torch.no_grad():
        rows = torch.nn.functional.normalize(twin.get_text_features(**ids("clip", texts)).pooler_output, dim=-1)
    real = torch.nn.functional.softmax

    def remember(*given, **named):
        out = real(*given, **{name: value for name, value in named.items() if name != "dtype"})
        out.retain_grad()
        kept.append(out)
        return out

    torch.nn.functional.softmax = remember
    try:
        z = twin.get_image_features(pixel_values=pixels.double().requires_grad_()).pooler_output
    finally:
        torch.nn.functional.softmax = real
    logits = twin.logit_scale.exp() * torch.nn.functional.normalize(z, dim=-1) @ rows.T
    (logits[:, 0] - (logits[:, 1] if against else 0)).sum().backward()
    n = kept[0].shape[-1]
    r = torch.eye(n, dtype=torch.float64).expand(len(pixels), n, n)
    for a in kept:
        r = r + (a * a.grad).clamp(min=0).mean(dim=1).detach() @ r
    return r[:, 0].numpy()


@pytest.mark.parametrize("against", [False, True])
def test_relevance_to_a_text_equals_the_slow_twin_and_the_batch_does_not_matter(against):
    model = vs.load(towers("clip").double(), mean=0.5, std=0.5, tokenizer=tokenizer())
    trace = model.trace(PHOTOS)
    target = (vs.Text(TEXTS[0]), "text:two dog") if against else f"text:{TEXTS[0]}"
    found = vs.relevance(trace, target=target)
    assert found.target[0] == ("“a photo of a cat” rather than “two dog”" if against else "“a photo of a cat”")
    slow = slow_relevance(trace.pixels, TEXTS[:2], against)
    assert np.abs(found.values - slow).max() <= 1e-6 * np.abs(slow).max()
    for i, photo in enumerate(PHOTOS):
        assert np.abs(vs.relevance(model.trace(photo), target=target).values[0] - found.values[i]).max() <= 1e-9 * np.abs(slow).max()


@pytest.mark.parametrize("method", ["gradient-rollout", "relevance", "grad-cam", "legrad", "integrated-gradients", "occlusion"])
def test_every_method_and_the_trust_checks_work_with_a_text(method):
    from vitscope.methods import explain

    trace = loaded().trace(PHOTOS)
    options = {"steps": 8} if method == "integrated-gradients" else {}
    pair = vs.check(trace, explain(trace, method, (vs.Text(TEXTS[0]), vs.Text(TEXTS[1])), **options))[0]
    assert pair.meta["trust"][0]["target_swapped_to"] == "“a photo of a cat” rather than “two dog”, the other way round"
    for one in (explain(trace, method, vs.Text(TEXTS[0]), **options), pair):
        assert np.isfinite(one.values[:, trace.layout.patches]).all()
        assert vs.check(trace, one)[0].meta["trust"][1]["hottest_drop"] is not None


def test_texts_as_classes_are_labels_and_other_texts_can_still_be_asked():
    model = loaded("clip", tuple(TEXTS))
    trace = model.trace(PHOTOS)
    assert model.labels == tuple(TEXTS)
    by_label, by_text = (vs.relevance(trace, target=t) for t in (TEXTS[1], vs.Text(TEXTS[1])))
    assert np.abs(by_label.values - by_text.values).max() <= 1e-6 * np.abs(by_text.values).max()
    assert trace.resolve(("two dog", "the sky")).index == (1, 1)
    assert trace.resolve("text:two cat").names == ("“two cat”",) * 2
    assert vs.features(trace).shape == (2, 8)
    assert {m["name"] for m in model.describe()["methods"] if m["available"]} >= {"relevance", "legrad", "occlusion"}
    assert model.footprint((1, 3, 32, 32), Needs(gradients=True)).graph > 0


def test_changed_weights_are_read_again():
    module = towers("clip")
    model = vs.load(module, mean=0.5, std=0.5, tokenizer=tokenizer(), labels=TEXTS)
    before = model.trace(PHOTOS[0])
    with torch.no_grad():
        module.text_projection.weight.mul_(-1)
    assert torch.allclose(model.trace(PHOTOS[0]).logits, -before.logits, atol=1e-5)
    with pytest.raises(Exception, match="the weights changed since this trace"):
        before.resolve(vs.Text("dog"))


def test_the_page_explains_texts_of_a_list_and_others():
    from vitscope.api.explorer import Explorer
    from vitscope.views.view import unpack

    for model, target in ((loaded("clip", tuple(TEXTS)), TEXTS[1]), (loaded(), "text:two dog")):
        trace = model.trace(PHOTOS[0])
        explorer = Explorer([trace])
        block = unpack(next(iter(explorer.answer("map", {"method": "relevance", "target": target}))))
        assert block.meta["target"].strip("“”") == "two dog"
        assert np.array_equal(block.arrays["values"], vs.relevance(trace, target=target).values[0], equal_nan=True)
        with torch.no_grad():
            own = whole(model.module, trace.pixels, ids("clip"))[0].tolist()
        assert block.meta["scores"] == pytest.approx([own[1]], abs=1e-5 * max(1.0, *map(abs, own)))
        pair = unpack(next(iter(explorer.answer("map", {"method": "relevance", "target": "text:two dog", "against": "text:the sky"}))))
        assert pair.meta["scores"] == pytest.approx(own[1:], abs=1e-5 * max(1.0, *map(abs, own)))
        facts = explorer.catalogue()["sources"][0]
        assert facts["target_forms"] == ["text:WORDS"]
        assert all(method["available"] for method in facts["methods"] if method["name"] == "relevance")
        with pytest.raises(ArgumentError, match="target of 605 characters; expected at most 500"):
            next(iter(explorer.answer("map", {"method": "relevance", "target": "text:" + "x" * 600})))
    top = Explorer([loaded("clip", tuple(TEXTS)).trace(PHOTOS[0])]).catalogue()["sources"][0]["top"]
    assert sorted(label for label, _ in top) == sorted(TEXTS)


def saved(home):
    """A folder as the hub has them: weights, processor, tokenizer."""
    towers("clip").save_pretrained(home)
    hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(home)
    tokenizer().save_pretrained(home)
    return home


def test_a_folder_brings_its_tokenizer_and_the_command_takes_texts(tmp_path, capsys):
    from vitscope.cli import main

    home = saved(tmp_path / "clip")
    photo, labels, out = tmp_path / "p.png", tmp_path / "texts.txt", tmp_path / "o.npz"
    Image.fromarray(PHOTOS[0]).save(photo)
    labels.write_text("\n".join(TEXTS) + "\n")
    common = ["explain", str(photo), "--model", str(home), "--method", "relevance", "--quiet"]
    main([*common, "--target", "text:a photo of a cat", "--against", "text:the sky", "--out", str(out)])
    with np.load(out) as kept:
        assert "rather than" in str(kept["meta"])
        alone = kept["grid"]
    main([*common, "--labels", str(labels), "--target", "a photo of a cat", "--against", "the sky", "--out", str(out)])
    with np.load(out) as kept:
        assert np.abs(kept["grid"] - alone).max() <= 1e-6 * np.abs(alone).max()
        assert "two dog" in str(kept["meta"])
    main([*common, "--labels", str(labels), "--out", str(tmp_path / "report.html")])
    page = (tmp_path / "report.html").read_text()
    assert all(text in page for text in TEXTS)
    for file in [*home.glob("*token*"), *home.glob("*vocab*")]:
        file.unlink()
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*common, "--target", "text:dog", "--out", str(out)])
    said = capsys.readouterr().err
    assert "no tokenizer there" in said
    assert said.count("\n") == 1


def test_refusals_in_one_line():
    trace = loaded().trace(PHOTOS[0])
    for target, said in (
        (("text:dog", vs.Feature(1)), "a text against"),
        (("text:dog", "text:dog"), "against itself"),
        (vs.Text("dog " * 20), "a text of 22 tokens; expected at most 12"),
        (vs.Text(" "), "an empty text"),
    ):
        with pytest.raises((ArgumentError, ModelError)) as caught:
            trace.resolve(target)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(MethodError, match=r"no class scores; expected a text \(text:WORDS\), a feature"):
        vs.relevance(trace)
    with pytest.raises(ModelError, match=r"no tokenizer; expected vs\.load\(model, tokenizer="):
        vs.load(towers("clip"), mean=0.5, std=0.5, labels=TEXTS)
    with pytest.raises(MethodError, match="no text tower"):
        vs.load(towers("clip").vision_model, mean=0.5, std=0.5).trace(PHOTOS[0]).resolve("text:dog")
    plain = vs.load("builtin:photos").trace(PHOTOS[0])
    with pytest.raises(MethodError, match=r"expected a label, or a class by its number"):
        plain.resolve("text:dog")


def test_scores_of_another_form_are_an_error():
    module = towers("clip")

    class Other(type(module)):
        def forward(self, input_ids=None, pixel_values=None, attention_mask=None):
            out = super().forward(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask)
            return type(out)(logits_per_image=out.logits_per_image.pow(3))

    module.__class__ = Other
    with pytest.raises(ProofError, match="away from the model's own scores"):
        vs.load(module, mean=0.5, std=0.5, tokenizer=tokenizer()).words(TEXTS)


def open_clip_model():
    import open_clip

    torch.manual_seed(0)
    vision = {"image_size": 32, "patch_size": 8, "width": 16, "layers": 2, "head_width": 8}
    text = {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
    return redraw(open_clip.CLIP(12, vision, text, init_logit_bias=-2.0))


def test_open_clip_texts_and_both_towers_as_they_were():
    import open_clip

    module = open_clip_model()
    read = open_clip.SimpleTokenizer(context_length=16)
    before = copy.deepcopy(module.state_dict())
    model = vs.load(module, tokenizer=read)
    trace = model.trace(PHOTOS)
    with torch.no_grad():
        own = module.get_logits(trace.pixels, read(TEXTS))[0]
    target = trace.resolve("text:two dog")
    assert score(trace.whole, target).tolist() == pytest.approx(own[:, 1].tolist(), abs=1e-5 * float(own.abs().max()))
    vs.relevance(trace, target=vs.Text("the sky"))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert all(p.grad is None for p in module.parameters())
    with pytest.raises(ArgumentError, match=r"a text of \d+ tokens; expected at most 16"):
        trace.resolve(vs.Text("dog " * 30))
    assert vs.load(module).trace(PHOTOS[0]).logits is None
    with pytest.raises(ModelError, match="no tokenizer"):
        vs.load(module).trace(PHOTOS[0]).resolve(vs.Text("dog"))
    with pytest.raises(MethodError, match="no text tower"):
        vs.load(module.visual).trace(PHOTOS[0]).resolve(vs.Text("dog"))
