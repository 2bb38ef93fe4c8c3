"""Prepared tensors are the library's own, and the placement says truly where each of their pixels lies in the photo."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from vitscope.core.sample import Sample
from vitscope.models import huggingface, openclip, timm, torchvision
from vitscope.models.hf_processor import preparation_of as hf_preparation
from vitscope.models.hf_processor import resized

SIZES = {"landscape": (480, 640), "portrait": (451, 300), "panorama": (200, 1500), "small": (30, 21)}

HF = {
    "vit squash": ("ViTImageProcessor", {}),
    "deit": ("DeiTImageProcessor", {}),
    "clip": ("CLIPImageProcessor", {}),
    "clip odd crop": ("CLIPImageProcessor", {"size": {"shortest_edge": 97}, "crop_size": {"height": 64, "width": 81}}),
    "clip crop beyond the photo": ("CLIPImageProcessor", {"size": {"shortest_edge": 61}, "crop_size": {"height": 96, "width": 96}}),
    "bit (dinov2)": ("BitImageProcessor", {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}),
    "siglip": ("SiglipImageProcessor", {}),
    "beit": ("BeitImageProcessor", {}),
    "convnext 224": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}}),
    "convnext 384": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    "levit": ("LevitImageProcessor", {}),
}


def photo(size, seed=0):
    """A photo-like picture: smooth colours with detail."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
    grain = rng.integers(-20, 21, (*size, 3))
    return np.clip(np.asarray(coarse).astype(int) + grain, 0, 255).astype(np.uint8)


def sample_of(pixels, exif=1):
    return Sample(id="x", pixels=pixels[None], exif=exif)


def hf_processor(name, options, backend):
    suffix = "Pil" if backend == "pil" else ""
    return getattr(transformers, name + suffix)(**options)


def timm_model(**overlay):
    import timm as library

    # one thin block: only its pretrained_cfg matters here
    size = overlay.get("input_size", (3, 224, 224))[1:]
    return library.create_model("vit_tiny_patch16_224", depth=1, embed_dim=12, img_size=size, pretrained_cfg_overlay=overlay)


def timm_pair(**overlay):
    from timm import data

    model = timm_model(**overlay)
    theirs = data.create_transform(**data.resolve_data_config({}, model=model))
    return timm_preparation(model), theirs


def timm_preparation(model):
    return timm.preparation_of(model, tuple(model.pretrained_cfg["input_size"][1:]))


def torchvision_pair(weights):
    import torchvision.models as models

    preset = models.get_weight(weights).transforms()
    return torchvision.preparation_of(preset, None), preset


def torchvision_other_size(weights, size):
    import torchvision.models as models
    from torchvision import transforms

    preset = models.get_weight(weights).transforms()
    longest = round(max(size) * preset.resize_size[0] / preset.crop_size[0])
    theirs = transforms.Compose(
        [
            transforms.Resize(longest, interpolation=preset.interpolation, antialias=preset.antialias),
            transforms.CenterCrop(size),
            transforms.PILToTensor(),
            transforms.ConvertImageDtype(torch.float32),
            transforms.Normalize(preset.mean, preset.std),
        ]
    )
    return torchvision.preparation_of(preset, size), theirs


def openclip_pair(**config):
    import open_clip

    full = open_clip.transform.PreprocessCfg(**config)
    theirs = open_clip.transform.image_transform_v2(full, is_train=False)
    tower = SimpleNamespace(preprocess_cfg=config, image_size=config.get("size", 224))
    size = config.get("size", 224)
    return openclip.preparation_of(tower, size if isinstance(size, tuple) else (size, size)), theirs


PAIRS = {
    "timm plain": timm_pair,
    "timm border, padded": lambda: timm_pair(crop_mode="border", crop_pct=1.0),
    "timm border, cropped": lambda: timm_pair(crop_mode="border", crop_pct=0.9),
    "timm squash": lambda: timm_pair(crop_mode="squash", crop_pct=0.95, interpolation="bilinear"),
    "timm not square": lambda: timm_pair(input_size=(3, 160, 240), crop_pct=0.9),
    "torchvision ViT-B/16": lambda: torchvision_pair("ViT_B_16_Weights.IMAGENET1K_V1"),
    "torchvision SWAG 384": lambda: torchvision_pair("ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1"),
    "torchvision not square": lambda: torchvision_other_size("Swin_T_Weights.DEFAULT", (160, 240)),
    "open_clip shortest": lambda: openclip_pair(size=224),
    "open_clip longest, padded": lambda: openclip_pair(size=224, resize_mode="longest", fill_color=0),
    "open_clip squash": lambda: openclip_pair(size=224, resize_mode="squash", interpolation="bilinear"),
    "open_clip not square": lambda: openclip_pair(size=(160, 240)),
}


def all_pairs():
    for name, (cls, options) in HF.items():
        for backend in ("pil", "torchvision"):
            yield pytest.param(lambda c=cls, o=options, b=backend: hf_pair(c, o, b), id=f"transformers {name} {backend}")
    for name, make in PAIRS.items():
        yield pytest.param(make, id=name)


def hf_pair(cls, options, backend):
    processor = hf_processor(cls, options, backend)
    return hf_preparation(processor), lambda image: processor(image, return_tensors="pt")["pixel_values"][0]


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("make", all_pairs())
def test_tensor_is_the_librarys_own(make, size):
    ours, theirs = make()
    pixels = photo(size)
    tensor, placement = ours(sample_of(pixels, exif=6))
    expected = theirs(Image.fromarray(pixels))
    assert tensor.shape == expected.shape
    assert (tensor - expected).abs().max() <= 1e-6
    assert placement.input_size == tuple(tensor.shape[-2:])
    assert placement.exif == 6


def read_back(prepare, size):
    """Photo row and column that each input pixel shows, and where the input shows photo at all: from ramps, black and white.

    Eight bits are too few for half a pixel of a large photo, so the ramps are rounded up or down at random: means are then exact.
    """
    rng = np.random.default_rng(0)

    def through(values):
        grey = np.floor(np.broadcast_to(values, size) + rng.random(size)).clip(0, 255).astype(np.uint8)
        return prepare(sample_of(np.repeat(grey[..., None], 3, axis=2)))[0].double().mean(dim=0).numpy()

    black, white = through(np.zeros((1, 1))), through(np.full((1, 1), 255.0))
    shown = np.abs(white - black) > 0.999 * np.abs(white - black).max()
    axes = []
    for axis in (0, 1):
        ramp = 20 + 215 * (np.arange(size[axis]) + 0.5) / size[axis]
        got = 255 * (through(ramp[:, None] if axis == 0 else ramp[None, :]) - black) / np.where(shown, white - black, 1.0)
        axes.append((got - 20) / 215 * size[axis])
    return axes, shown


@pytest.mark.parametrize("size", [(480, 640), (451, 300), (200, 1500)], ids=["landscape", "portrait", "panorama"])
@pytest.mark.parametrize("make", all_pairs())
def test_placement_is_where_the_pixels_lie(make, size):
    ours, _ = make()
    _, placement = ours(sample_of(photo(size)))
    (rows, columns), shown = read_back(ours, size)
    for axis, read in ((0, rows), (1, columns)):
        along = np.flatnonzero(shown.any(axis=1 - axis))
        # where padding begins and ends
        content = (placement.content[axis], placement.content[axis + 2])
        assert max(content[0], 0) == pytest.approx(along[0], abs=0.51)
        assert min(content[1], shown.shape[axis]) == pytest.approx(along[-1] + 1, abs=0.51)
        # the coordinate itself; the ends are left out of the line, because filters there look past the edge
        inner = along[len(along) // 8 : len(along) - len(along) // 8]
        values = [np.mean(np.take(read, i, axis=axis)[np.take(shown, i, axis=axis)]) for i in inner]
        slope, start = np.polyfit(inner + 0.5, values, 1)
        for at in (along[0] + 0.5, along[len(along) // 2] + 0.5, along[-1] + 0.5):
            told = placement.to_photo((at, at))[axis]
            assert slope * at + start == pytest.approx(told, abs=0.5)


def test_placement_of_a_known_crop():
    processor = hf_processor("CLIPImageProcessor", {}, "pil")
    _, placement = hf_preparation(processor)(sample_of(photo((480, 640))))
    # shortest edge 480 → 224, so 640 → int(298.67) = 298; centre crop starts at (298 − 224) // 2 = 37
    assert placement.scale == (224 / 480, 298 / 640)
    assert placement.offset == (0.0, -37.0)
    assert placement.seen == pytest.approx((0, 37 * 640 / 298, 480, (37 + 224) * 640 / 298))


@pytest.mark.parametrize("name", list(HF))
def test_another_input_size_keeps_the_proportions(name):
    cls, options = HF[name]
    if cls == "LevitImageProcessor":
        pytest.skip("LeViT resizes by its own fixed 256/224")
    processor = resized(hf_processor(cls, options, "pil"), (320, 320))
    tensor, placement = hf_preparation(processor)(sample_of(photo((480, 640))))
    assert tuple(tensor.shape) == (3, 320, 320)
    assert placement.input_size == (320, 320)


def test_a_folder_is_prepared_as_transformers_itself_would(tmp_path):
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=48, patch_size=16, num_labels=3
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 48, "width": 48}).save_pretrained(tmp_path)
    from vitscope.models import load

    pixels = photo((120, 90))
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)(Image.fromarray(pixels), return_tensors="pt")["pixel_values"]
    for ref in (str(tmp_path), f"hf:{tmp_path}"):
        ours, _ = load(ref).prepare([sample_of(pixels)])
        assert (ours - theirs).abs().max() <= 1e-6
    pil = transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil")(Image.fromarray(pixels), return_tensors="pt")
    ours, _ = load(str(tmp_path), backend="pil").prepare([sample_of(pixels)])
    assert (ours - pil["pixel_values"]).abs().max() <= 1e-6
    assert huggingface.recognises(load(str(tmp_path)).module)


def test_hugging_face_runs_without_torchvision(tmp_path):
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=32, patch_size=16, num_labels=3
    )
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path)
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    script = f"""
        import sys
        sys.modules["torchvision"] = None  # importing it fails from here on
        import numpy as np, torch
        from vitscope.models import load
        model = load({str(tmp_path)!r})
        trace = model.trace(np.full((40, 50, 3), 200, dtype=np.uint8))
        assert "pil" in trace.provenance.preprocessing, trace.provenance.preprocessing
        assert torch.allclose(trace.pixels, torch.full((1, 3, 32, 32), (200 / 255 - 0.5) / 0.5), atol=1e-6)
        assert sys.modules["torchvision"] is None
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_float_pixels_are_shown_as_eight_bit_first():
    grey = torch.linspace(0, 1, 64 * 64).view(64, 64, 1).expand(-1, -1, 3).numpy()
    sample = Sample(id="x", pixels=grey[None], value_range=(0.0, 1.0))
    processor = hf_processor("ViTImageProcessor", {}, "pil")
    tensor, _ = hf_preparation(processor)(sample)
    expected = processor(Image.fromarray(sample.photo), return_tensors="pt")["pixel_values"][0]
    assert (tensor - expected).abs().max() <= 1e-6
