"""load: every scheme offline, folders of both kinds, own modules, and everything that is refused in one line."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import save_file
from torch import nn

from support.handwritten import JoinedFused, stacked
from support.zoo import redraw
from vitscope.errors import MissingExtra, ModelError
from vitscope.models import family, load
from vitscope.scoring import score

PHOTO = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
TINY = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "image_size": 32, "patch_size": 8}
DATA = os.environ.get("VITSCOPE_TEST_DATA", "")


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.fixture
def hf_folder(tmp_path):
    folder = tmp_path / "hf"
    torch.manual_seed(0)
    names = {0: "cat", 1: "dog", 2: "bird"}
    config = transformers.ViTConfig(**TINY, id2label=names, label2id={v: k for k, v in names.items()})
    transformers.ViTForImageClassification(config).save_pretrained(folder)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def timm_tiny(classes=3):
    import timm

    torch.manual_seed(0)
    return timm.create_model("vit_tiny_patch16_224", num_classes=classes, depth=2, embed_dim=24, num_heads=2, img_size=64)


def test_hugging_face_folder(hf_folder):
    for ref in (str(hf_folder), hf_folder, f"hf:{hf_folder}"):
        model = load(ref)
        assert model.labels == ("cat", "dog", "bird")
        trace = model.trace(PHOTO)
        assert trace.layout.grid == (4, 4)
        assert {name for name, _ in trace.top(3)} == {"cat", "dog", "bird"}
    ours = transformers.ViTForImageClassification.from_pretrained(hf_folder).eval()
    with torch.no_grad():
        assert torch.allclose(ours(trace.pixels).logits, trace.logits, atol=1e-6)


def test_generic_label_names_become_class_numbers(tmp_path):
    transformers.ViTForImageClassification(transformers.ViTConfig(**TINY, num_labels=4)).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    assert load(tmp_path).labels == ("class 0", "class 1", "class 2", "class 3")


def test_hub_code_is_never_run(hf_folder):
    config = json.loads((hf_folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Model"}
    config["model_type"] = "evil-type"
    (hf_folder / "config.json").write_text(json.dumps(config))
    (hf_folder / "evil.py").write_text(f"open({str(hf_folder / 'touched')!r}, 'w')")
    with pytest.raises(ModelError):
        load(hf_folder)
    assert not (hf_folder / "touched").exists()


def test_hugging_face_folder_refused(hf_folder):
    weights = (hf_folder / "model.safetensors").read_bytes()
    (hf_folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="cannot be loaded"):
        load(hf_folder)
    (hf_folder / "model.safetensors").unlink()
    torch.save({}, hf_folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        load(hf_folder)


def test_hugging_face_weights_of_another_shape_are_counted(hf_folder):
    config = json.loads((hf_folder / "config.json").read_text())
    (hf_folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3, "hidden_size": 16, "intermediate_size": 32}))
    with pytest.raises(ModelError, match=r"\d+ missing, 0 unexpected and \d+ mis-shaped"):
        load(hf_folder)


def test_hugging_face_folder_without_processor(hf_folder):
    (hf_folder / "preprocessor_config.json").unlink()
    with pytest.raises(ModelError, match="preprocessor_config"):
        load(hf_folder)


def test_headless_and_tower_folders(tmp_path):
    transformers.Dinov2Model(transformers.Dinov2Config(**TINY)).save_pretrained(tmp_path / "d")
    transformers.BitImageProcessor(size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}).save_pretrained(tmp_path / "d")
    model = load(tmp_path / "d")
    assert model.labels == ()
    with pytest.raises(ModelError, match="2 class names; expected none"):
        load(tmp_path / "d", labels=["cat", "dog"]).trace(PHOTO)
    trace = model.trace(PHOTO)
    assert trace.logits is None
    assert [r.name for r in trace.layout.readouts] == ["cls"]
    text = {key: 16 if "size" in key else 2 for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")}
    clip = transformers.CLIPConfig(vision_config=TINY, text_config=text, projection_dim=8)
    transformers.CLIPModel(clip).save_pretrained(tmp_path / "c")
    transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(tmp_path / "c")
    assert load(tmp_path / "c").trace(PHOTO).logits is None


def test_a_masked_autoencoder_sees_every_patch_in_order(tmp_path):
    transformers.ViTMAEForPreTraining(transformers.ViTMAEConfig(**TINY)).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    model = load(tmp_path)
    assert model.layout().patches.tolist() == list(range(1, 17))
    first, second = (model.trace(PHOTO).calls[0].k for _ in range(2))
    assert torch.equal(first, second)


def test_a_timm_model_of_ones_own_is_prepared_with_ones_own_mean_and_std(tmp_path, monkeypatch):
    from PIL import Image
    from timm.data import create_transform, resolve_data_config

    module, own = timm_tiny().eval(), {"mean": (0.1, 0.2, 0.3), "std": (0.6, 0.7, 0.8)}
    theirs = create_transform(**(resolve_data_config({"input_size": (3, 64, 64)}, model=module) | own))(Image.fromarray(PHOTO))
    for given in (own, {"mean": list(own["mean"]), "std": torch.tensor(own["std"])}):
        model = load(module, input_size=64, **given)
        assert torch.allclose(model.trace(PHOTO).pixels[0], theirs, atol=1e-6)
    assert "mean 0.1" in model.trace(PHOTO).provenance.preprocessing
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_for_timm.py").write_text(
        "import timm, torch\n"
        "def build():\n"
        "    torch.manual_seed(0)\n"
        "    made = timm.create_model('vit_tiny_patch16_224', num_classes=3, depth=2, embed_dim=24, num_heads=2, img_size=64)\n"
        f"    return made.eval(), {{'input_size': 64, 'labels': ['a', 'b', 'c'], **{own}}}\n"
    )
    built = load("mine_for_timm:build")
    assert built.labels == ("a", "b", "c")
    assert torch.allclose(built.trace(PHOTO).pixels[0], theirs, atol=1e-6)
    squashed = load(module, input_size=64, resize="squash", **own).trace(PHOTO)
    assert torch.equal(squashed.pixels, load(nn.Flatten().eval(), input_size=64, **own).prepare(squashed.samples)[0])

    def preprocess(image):
        return torch.from_numpy(np.array(image.resize((64, 64)), dtype=np.float32)).permute(2, 0, 1) / 200

    assert torch.equal(load(module, preprocess=preprocess).trace(PHOTO).pixels[0], preprocess(Image.fromarray(PHOTO)))
    with pytest.raises(ModelError, match="2 numbers for mean or std"):
        load(module, mean=(0.1, 0.2))


def test_timm_style_folder_and_checkpoints(tmp_path):
    module = timm_tiny(classes=5)
    config = {
        "architecture": "vit_tiny_patch16_224",
        "num_classes": 5,
        "model_args": {"depth": 2, "embed_dim": 24, "num_heads": 2, "img_size": 64},
        "pretrained_cfg": {
            "input_size": [3, 64, 64],
            "mean": [0.1, 0.2, 0.3],
            "std": [0.5, 0.6, 0.7],
            "crop_pct": 1.0,
            "interpolation": "bilinear",
        },
        "label_names": ["a", "b", "c", "d", "e"],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    model = load(tmp_path)
    assert model.labels == ("a", "b", "c", "d", "e")
    assert model.described.preparation.mean == (0.1, 0.2, 0.3)
    trace = model.trace(PHOTO)
    with torch.no_grad():
        assert torch.allclose(module.eval()(trace.pixels), trace.logits, atol=1e-6)
    torch.save({"state_dict": {"module." + k: v for k, v in module.state_dict().items()}}, tmp_path / "w.pth")
    assert torch.equal(load(tmp_path, weights=tmp_path / "w.pth").trace(PHOTO).logits, trace.logits)
    assert load(tmp_path, labels=["p", "q", "r", "s", "t"]).labels == ("p", "q", "r", "s", "t")
    with pytest.raises(ModelError, match="2 class names; expected 5"):
        _ = load(tmp_path, labels=["p", "q"]).labels


def test_number_of_classes_is_read_off_the_checkpoint(tmp_path):
    import timm

    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", num_classes=5)
    torch.save({"model": module.state_dict()}, tmp_path / "five.pth")
    model = load("timm:vit_tiny_patch16_224", weights=tmp_path / "five.pth")
    assert model.labels == tuple(f"class {i}" for i in range(5))
    with pytest.raises(ModelError, match="mis-shaped weights") as caught:
        load("timm:vit_tiny_patch16_384", weights=tmp_path / "five.pth")
    assert "pos_embed (1, 197, 192) for (1, 577, 192)" in str(caught.value)


def test_torchvision_by_name_with_local_weights(tmp_path):
    import torchvision

    torch.manual_seed(0)
    module = torchvision.models.vit_b_32(num_classes=7).eval()
    nn.init.normal_(module.heads.head.weight)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    model = load("torchvision:vit_b_32", weights=tmp_path / "w.safetensors", labels=[*"abcdefg"])
    trace = model.trace(PHOTO)
    plain = module(trace.pixels).detach()  # with gradients on, PyTorch's fast path, which rounds otherwise, is off here too
    assert torch.allclose(plain, trace.logits, atol=1e-5)
    assert trace.layout.grid == (7, 7)
    assert "centre crop 224" in trace.provenance.preprocessing


def test_a_torchvision_model_of_any_size_by_name_has_its_transforms(tmp_path):
    import torchvision

    save_file(torchvision.models.mobilenet_v3_small().state_dict(), tmp_path / "w.safetensors")
    assert load("torchvision:mobilenet_v3_small", weights=tmp_path / "w.safetensors").input_size == (224, 224)
    wide = load("torchvision:mobilenet_v3_small", weights=tmp_path / "w.safetensors", input_size=(64, 96))
    trace = wide.trace(PHOTO)
    assert wide.input_size == tuple(trace.pixels.shape[-2:]) == (64, 96)
    assert "centre crop 64×96" in trace.provenance.preprocessing


def test_open_clip_by_name_with_local_weights(tmp_path):
    import open_clip

    torch.manual_seed(0)
    clip = open_clip.create_model("ViT-B-32", pretrained=None, load_weights=False).eval()
    torch.save({"state_dict": clip.state_dict()}, tmp_path / "w.pt")
    before = list(logging.getLogger().handlers), list(logging.getLogger().filters)
    model = load("open_clip:ViT-B-32", weights=tmp_path / "w.pt")
    assert (list(logging.getLogger().handlers), list(logging.getLogger().filters)) == before
    trace = model.trace(PHOTO)
    assert trace.logits is None
    assert [r.name for r in trace.layout.readouts] == ["cls"]
    with torch.no_grad():
        theirs = clip.visual(trace.pixels)
        assert torch.allclose(model.module.encode_image(trace.pixels), theirs, atol=1e-6)
        own = clip.get_logits(trace.pixels, open_clip.get_tokenizer("ViT-B-32")(["a cat"]))[0]
    assert score(trace.whole, trace.resolve("text:a cat")).tolist() == pytest.approx(own[:, 0].tolist(), abs=1e-4)
    torch.save(clip.visual.state_dict(), tmp_path / "tower.pt")
    assert type(load("open_clip:ViT-B-32", weights=tmp_path / "tower.pt").module) is type(clip.visual)


def test_builtin_is_only_a_folder_in_the_package():
    model = load("builtin:photos")
    home = Path(family.__file__).parent / "builtin" / "photos"
    same = load(f"hf:{home}")
    assert model.ref == "builtin:photos"
    assert model.weights_fingerprint() == same.weights_fingerprint()
    assert "cat" in model.labels


REFUSED = {
    "foo:bar": "unknown scheme 'foo'",
    "nothing-of-that-name": "neither a folder nor a reference",
    "timm:": "no name after the scheme",
    "timm:vit_tiny_patch16_22": "such as vit_tiny_patch16_224",
    "timm:vit_tyny": "such as vit_tiny_patch16_224",
    "timm:test": "such as",
    "torchvision:vit_b_61": "such as vit_b_16",
    "open_clip:ViT-B-31": "such as ViT-B-32",
    "open_clip:ViT-B-32/nope": "unknown pretrained tag 'nope'",
    "builtin:nope": "expected photos",
    "hf:./nope": "no such folder",
    "hf:nobody/nothing": "cannot be loaded",
    "timm:vit_tiny_patch16_224": "cannot be loaded",
}


@pytest.mark.parametrize("ref", REFUSED)
def test_references_that_are_refused(ref):
    with pytest.raises(ModelError) as caught:
        load(ref)
    text = str(caught.value)
    assert REFUSED[ref] in text
    assert "test_" not in text
    assert "\n" not in text
    assert caught.value.exit_code == 2


def test_folders_that_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"a folder without config\.json"):
        load(tmp_path)
    for content, said in (
        ("{", "not readable as JSON"),
        ('{"a": 1}', "no model_type"),
        ("[1]", "no model_type"),
        ('{"architecture": "vit_nope"}', "unknown architecture"),
    ):
        (tmp_path / "config.json").write_text(content)
        with pytest.raises(ModelError, match=said):
            load(tmp_path)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"foo": 1}, "option foo"),
        ({"dtype": "float8"}, "dtype 'float8'"),
        ({"device": "nowhere"}, "device 'nowhere'"),
        ({"input_size": 0}, "input_size 0"),
        ({"input_size": (3, 224, 224)}, "input_size"),
        ({"labels": "/no/such/file.txt"}, "no such file; expected class names"),
        ({"weights": "/no/such/file.pth"}, "weights=FILE"),
    ],
)
def test_options_that_are_refused(hf_folder, options, said):
    with pytest.raises(ModelError, match=said):
        load(hf_folder, **options)


def test_missing_library_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(MissingExtra, match=r"pip install 'vitscope\[timm\]'"):
        load("timm:vit_tiny_patch16_224")


def test_objects_are_known_by_their_library():
    import open_clip
    import torchvision

    assert load(timm_tiny().eval()).described.libraries == ("timm",)
    assert load(transformers.ViTForImageClassification(transformers.ViTConfig(**TINY)).eval()).described.libraries == ("transformers",)
    vit = torchvision.models.vision_transformer._vision_transformer(16, 1, 2, 16, 16, weights=None, progress=False, image_size=32)
    assert load(vit.eval()).described.libraries == ("torchvision",)
    clip = open_clip.model.CLIP(
        8,
        open_clip.CLIPVisionCfg(layers=1, width=64, patch_size=16, image_size=32),
        open_clip.CLIPTextCfg(layers=1, width=16, heads=2, vocab_size=8),
    )
    assert load(clip.eval()).described.libraries == ("open_clip_torch",)
    assert load(stacked(JoinedFused).eval()).described.libraries == ()


def test_an_object_is_not_moved_converted_or_switched():
    module = timm_tiny()
    assert module.training
    for name in ("device", "dtype"):
        with pytest.raises(ModelError, match="a module of your own"):
            load(module, **{name: "cpu" if name == "device" else "float16"})
    load(module)
    assert module.training
    assert all(p.requires_grad for p in module.parameters())


def test_what_a_photo_needs_is_asked_for_at_once():
    module = stacked(JoinedFused).eval()
    with pytest.raises(ModelError) as caught:
        load(module).trace(PHOTO)
    assert "not known: input_size, mean, std; expected vs.load(model, input_size=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))" in str(
        caught.value
    )
    with pytest.raises(ModelError, match="not known: std; expected"):
        load(module, input_size=32, mean=0.5).trace(PHOTO)
    hf = transformers.ViTForImageClassification(transformers.ViTConfig(**TINY)).eval()
    with pytest.raises(ModelError, match="processor=AutoImageProcessor"):
        load(hf).trace(PHOTO)
    processor = transformers.ViTImageProcessor(size={"height": 32, "width": 32})
    assert load(hf, processor=processor).trace(PHOTO).layout.grid == (4, 4)
    assert load(hf, mean=0.5, std=0.5).trace(PHOTO).layout.grid == (4, 4)


FUNCTIONS = """
from torch import nn
def bare():
    return nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.Flatten(), nn.Linear(64, 3)).eval()
class Volumes(nn.Module):
    def forward(self, x):
        batch, time, channels, height, width = x.shape
        return x.mean(dim=(1, 2, 3, 4))
def volumes():
    return Volumes().eval(), dict(input_size=32, mean=0.5, std=0.5)
"""


def test_a_function_is_told_what_to_give_beside_its_model(tmp_path, monkeypatch):
    (tmp_path / "functions_of_mine.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    given = r"bare\(\) to return \(model, dict\(input_size=224, mean=\(0\.5, 0\.5, 0\.5\), std=\(0\.5, 0\.5, 0\.5\)\)\)$"
    with pytest.raises(ModelError, match=f"functions_of_mine:bare: not known: input_size, mean, std; expected {given}"):
        load("functions_of_mine:bare").describe()


def test_a_model_of_videos_or_volumes_says_so_in_a_line(tmp_path, monkeypatch):
    (tmp_path / "functions_of_mine.py").write_text(FUNCTIONS)
    monkeypatch.chdir(tmp_path)
    said = r"volumes: cannot be run on a photo \[1, 3, 32, 32\] \(ValueError: not enough values.* not of videos or volumes"
    with pytest.raises(ModelError, match=said):
        load("functions_of_mine:volumes").describe()


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="VITSCOPE_TEST_DATA names no folder of real weights and photos")
def test_real_vit_tiny_ranks_eight_photos_first():
    home = Path(DATA)
    folder = home / "models" / "vit_tiny_in1k"
    names = folder / "imagenet_classes.txt"
    model = load("timm:vit_tiny_patch16_224", weights=folder / "model.safetensors", labels=names)
    assert model.described.preparation.text == "resize shortest edge 248 bicubic, centre crop 224, mean 0.5, std 0.5"
    photos = sorted((home / "photos" / "imagenet").iterdir())
    trace = model.trace(photos)
    # the first word of each synset, as ImageNet lists them
    expected = ["drake", "merganser", "bustard", "Mexican hairless", "cougar", "ram", "titi", "cocktail shaker"]
    assert len(photos) == 8
    for i, word in enumerate(expected):
        assert word in trace.top(1, i)[0][0]


def small_swin():
    import torchvision

    return torchvision.models.swin_transformer.SwinTransformer([4, 4], 24, [1, 1], [2, 4], [4, 4], num_classes=5).eval()


def test_a_torchvision_model_of_any_size_has_the_one_that_is_said():
    import torchvision

    transform = torchvision.models.Swin_T_Weights.DEFAULT.transforms()
    assert load(small_swin(), mean=0.5, std=0.5, input_size=(64, 96)).describe()["stages"] == [[16, 24], [8, 12]]
    assert load(small_swin(), preprocess=transform).input_size == (224, 224)
    assert load(small_swin(), preprocess=transform, input_size=64).input_size == (64, 64)
    with pytest.raises(ModelError, match="not known: input_size"):
        _ = load(small_swin()).input_size


def test_another_size_than_a_model_takes_is_refused_before_it_runs():
    import open_clip
    import torchvision

    vit = torchvision.models.vision_transformer._vision_transformer(16, 1, 2, 16, 16, weights=None, progress=False, image_size=32)
    tower = open_clip.model.VisionTransformer(32, 16, 16, 1, 2, 2.0, output_dim=8)
    assert load(vit.eval(), input_size=32).input_size == load(tower.eval(), input_size=32).input_size == (32, 32)
    for module in (vit, tower):
        with pytest.raises(ModelError, match=r"input_size \(64, 64\); expected \(32, 32\)"):
            load(module.eval(), input_size=64)


def test_a_hugging_face_model_of_any_size_is_described_at_the_one_that_is_said():
    config = transformers.Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=64, patch_size=8)
    model = load(redraw(transformers.Dinov2Model(config).eval()), mean=0.5, std=0.5, input_size=(96, 64))
    assert model.input_size == (96, 64)
    assert model.describe()["layout"]["grid"] == [12, 8]
