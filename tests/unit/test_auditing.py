"""The audit on pictures made here: the recipe behind a tensor, the photo's own faults, objects, steps; slow re-implementations beside."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import vitscope as vs
from support.faulty_inputs import jpeg
from support.photos import exif_turned, scene
from vitscope.auditing.cut import Axis, Cut
from vitscope.auditing.finding import Finding, ranked
from vitscope.auditing.fit import fit, registered
from vitscope.auditing.hypotheses import KNOWN, scalings
from vitscope.auditing.objects import object_findings, object_mask, seen_object
from vitscope.auditing.photo import blocks, quality, real_side
from vitscope.auditing.recipe import Own, Values, enlarged
from vitscope.auditing.search import explain, own_way
from vitscope.core.placement import Placement
from vitscope.errors import ArgumentError, ModelError
from vitscope.inputs.stored import stored

SIZE, MEAN, STD = (64, 64), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(height=150, width=200, seed=0):
    """Textured, coloured and without symmetry: noise over a smooth scene."""
    grain = np.random.default_rng(seed).normal(0, 25, (height, width, 3))
    return np.clip(scene(height, width, seed) + grain, 0, 255).astype(np.uint8)


def prepare(photo, mean=MEAN, std=STD):
    """Resize to 72 on the shorter side (bicubic), centre crop 64."""
    h, w = photo.shape[:2]
    size = tuple(72 if side == min(h, w) else int(72 * side / min(h, w)) for side in (h, w))
    small = np.asarray(Image.fromarray(photo).resize(size[::-1], Image.Resampling.BICUBIC), dtype=np.float32) / 255
    top, left = (round((side - 64) / 2) for side in size)
    tensor = ((small[top : top + 64, left : left + 64] - mean) / std).transpose(2, 0, 1).astype(np.float32)
    return tensor, Placement.of_photo((h, w)).resize(size).crop(top, left, SIZE)


OWN = Own(prepare, MEAN, STD, "resize 72 bicubic, crop 64")


class Embedding(nn.Module):
    """Patches of 16 px and a head: all that an audit needs of a model."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.patch_embed = nn.Conv2d(3, 8, 16, 16)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.patch_embed(x).flatten(2).mean(dim=2))


@pytest.fixture
def model():
    return vs.load(Embedding().eval(), input_size=SIZE, mean=MEAN, std=STD, resize="crop", labels=["a", "b", "c", "d"])


# the fit, against slow ones


def test_the_fit_is_least_squares():
    rng = np.random.default_rng(0)
    x = rng.random((10, 12, 3))
    t = np.stack([2 * x[..., 2] - 1, 0.5 * x[..., 1] + 3, -x[..., 0]]) + rng.normal(0, 0.01, (3, 10, 12))
    found = fit(t, x, np.ones((10, 12), bool))
    assert found.order == (2, 1, 0)
    left = 0.0
    for c in range(3):
        design = np.stack([x[..., found.order[c]].ravel(), np.ones(120)], axis=1)
        solved, residual, *_ = np.linalg.lstsq(design, t[c].ravel(), rcond=None)
        assert np.allclose(solved, (found.gain[c], found.offset[c]))
        left += residual[0]
    total = sum(((t[c] - t[c].mean()) ** 2).sum() for c in range(3))
    assert found.residual == pytest.approx(np.sqrt(left / total))


def test_grey_pictures_are_never_called_swapped():
    x = np.repeat(np.random.default_rng(0).random((10, 12, 1)), 3, axis=2)
    assert fit(x.transpose(2, 0, 1)[::-1], x, np.ones((10, 12), bool)).order == (0, 1, 2)


@pytest.mark.parametrize("corner", [(0, 0), (5, 9), (-4, 3)])
def test_registration_finds_the_corner(corner):
    wide = picture().astype(np.float64) / 255
    padded = np.pad(wide, ((20, 20), (20, 20), (0, 0)))
    part = padded[20 + corner[0] : 84 + corner[0], 20 + corner[1] : 84 + corner[1]].transpose(2, 0, 1)
    assert registered(part * 3 + 1, wide)[:2] == corner


def test_scalings_are_what_they_say():
    x = np.random.default_rng(0).random((50, 3))
    own = Values.normalised(MEAN, STD)
    made = {v.text: v for v in scalings(own, MEAN, STD, x)}
    twice = made["normalised twice with the model’s own mean and std"]
    assert np.allclose(x * twice.gain + twice.offset, ((x - MEAN) / STD - MEAN) / STD)
    raw = made["normalised, but not divided by 255 before"]
    assert np.allclose(x * raw.gain + raw.offset, (x * 255 - MEAN) / STD)
    mean, std = KNOWN["CLIP"]
    clip = made["mean and std of CLIP"]
    assert np.allclose(x * clip.gain + clip.offset, (x - mean) / std)


# the recipe behind a tensor


def test_the_models_own_preparation_is_found_to_the_bit():
    way = own_way(OWN, picture())
    assert way.off < 1e-6
    assert way.recipe.kernel.text == "bicubic"
    assert np.abs(way.recipe.tensor(picture()) - way.tensor).max() < 1e-5


def found_in(tensor, photo):
    return explain(np.asarray(tensor, np.float32), OWN, photo, own_way(OWN, photo).recipe)


def test_two_faults_at_once_are_both_found():
    photo = picture()
    squashed = np.asarray(Image.fromarray(photo).resize((64, 64), Image.Resampling.BICUBIC), dtype=np.float32)
    found = found_in((squashed[..., ::-1] / 255).transpose(2, 0, 1), photo)
    assert found.best.frame == "squashed"
    assert found.best.order == (2, 1, 0)
    assert found.best.values.kind == "not-normalised"
    assert found.residual < 1e-3
    assert found.without["frame"] > 0.3


@pytest.mark.parametrize("turn", range(2, 9))
def test_every_turn_is_found(turn):
    from vitscope.inputs.images import turned

    photo = picture()
    assert found_in(prepare(turned(photo, turn))[0], photo).best.turn == turn


@pytest.mark.parametrize("kernel", ["NEAREST", "BILINEAR", "LANCZOS", "BOX"])
def test_every_kernel_is_found(kernel):
    photo = picture()
    small = np.asarray(Image.fromarray(photo).resize((96, 72), Image.Resampling[kernel]), dtype=np.float32) / 255
    found = found_in(((small[4:68, 16:80] - MEAN) / STD).transpose(2, 0, 1), photo)
    assert found.best.kernel.name == kernel.lower()
    assert found.residual < 1e-3


def test_unknown_figures_are_fitted():
    photo = picture()
    tensor = prepare(photo, (0.3, 0.4, 0.6), (0.5, 0.1, 0.2))[0]
    best = found_in(tensor, photo).best
    assert best.values.kind == "wrong-mean-std"
    assert np.allclose([1 / g for g in best.values.gain], (0.5, 0.1, 0.2), atol=1e-3)


def test_another_photo_is_said_to_be_unexplained(model):
    other = model.prepare([vs.Sample(id="x", pixels=picture(seed=5)[None])])[0][0]
    kinds = [one.kind for one in vs.audit(model, picture(), tensor=other).findings]
    assert "unexplained" in kinds


# the photo itself


def test_real_sides():
    photo = picture(256, 320)
    grey = photo.astype(float).mean(axis=2)
    assert real_side(grey) == 256
    for how in ("bicubic", "bilinear", "lanczos"):
        small = enlarged(picture(256, 320), 48, how).astype(float).mean(axis=2)
        assert 40 <= real_side(small) <= 64, how
    repeated = np.repeat(np.repeat(picture(64, 80), 4, axis=0), 4, axis=1).astype(float).mean(axis=2)
    assert real_side(repeated) == 64


def test_blocks_of_jpeg_stand_out_at_any_offset():
    photo = np.asarray(Image.fromarray(scene(200, 240)))
    grainy = np.clip(photo + np.random.default_rng(0).normal(0, 12, photo.shape), 0, 255).astype(np.uint8)
    coded = np.asarray(Image.open(jpeg(Image.fromarray(grainy), 5)))
    grey = [one.astype(float) @ [0.299, 0.587, 0.114] for one in (grainy, coded, coded[3:, 5:])]
    assert blocks(grey[0]) < 0.1
    assert blocks(grey[1]) > 0.5
    assert blocks(grey[2]) > 0.5
    assert quality(coded).recoding < 0.04 < quality(grainy).recoding


@pytest.mark.parametrize("wanted", [5, 20, 50, 75, 90, 95])
def test_the_quality_of_a_jpeg_is_read_off_its_tables(tmp_path, wanted):
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(Image.fromarray(scene()), wanted).getvalue())
    found = stored(path)
    assert (found.format, found.mode, found.size, found.quality) == ("JPEG", "RGB", (48, 64), wanted)


# objects


def test_shares_of_an_object_are_those_counted_pixel_by_pixel():
    placement = Placement.of_photo((100, 140)).resize((72, 100)).crop(4, 18, SIZE)
    cut = Cut((Axis.of(64, 16, 16), Axis.of(64, 16, 16)))
    mask = np.zeros((100, 140), bool)
    mask[30:70, 10:90] = True
    seen = seen_object(mask, placement, cut)
    counts, lost = np.zeros((4, 4)), 0
    for y, x in np.argwhere(mask):
        v, u = placement.to_input((y + 0.5, x + 0.5))
        if 0 < v < 64 and 0 < u < 64:
            counts[int(v // 16), int(u // 16)] += 1
        else:
            lost += 1
    assert seen.lost == lost / mask.sum()
    assert np.allclose(seen.shares, counts / counts.sum())
    assert [one.kind for one in object_findings(seen, cut)] == ["object-cut"]


def test_a_small_object_across_four_patches_is_said_to_be_split():
    cut = Cut((Axis.of(64, 16, 16), Axis.of(64, 16, 16)))
    mask = np.zeros(SIZE, bool)
    mask[26:38, 26:38] = True
    found = object_findings(seen_object(mask, Placement.of_photo(SIZE), cut), cut)
    assert [(one.severity, one.kind) for one in found] == [("note", "object-split")]
    assert "28%" in found[0].evidence or "25%" in found[0].evidence


def test_boxes_in_pixels_and_fractions_are_the_same():
    assert np.array_equal(object_mask((50, 100), (10, 5, 60, 25), None), object_mask((50, 100), (0.1, 0.1, 0.6, 0.5), None))


@pytest.mark.parametrize("box", [(10, 10, 5, 20), (0, 0, 500, 20), (-5, 0, 20, 20)])
def test_boxes_that_do_not_fit_are_refused(box):
    with pytest.raises(ArgumentError, match="inside 100×50"):
        object_mask((50, 100), box, None)


# the whole


def test_a_clean_audit_is_whole_and_plain(model):
    audit = vs.audit(model, picture())
    assert audit.findings == ()
    assert audit.grid == (4, 4)
    assert audit.patches.shape == (4, 4, 3, 16, 16)
    assert audit.proof["put_back"] == 0.0
    assert [step.name for step in audit.steps] == ["decode", "colour", "resize", "crop", "scale", "normalise"]
    assert audit.seen_share == pytest.approx(0.75, abs=0.01)
    text = json.dumps(audit.as_dict(), allow_nan=False)
    assert {"findings", "seen_share", "grid", "lost", "steps", "coverage"} <= set(json.loads(text))
    assert audit.as_dict() == vs.audit(model, picture()).as_dict()


def test_a_transform_that_ignores_the_exif_turn(model, tmp_path):
    photo = picture()
    path = exif_turned(tmp_path, 6, shown=photo)

    def forgetful(image):
        return prepare(np.asarray(image))[0]

    def careful(image):
        from PIL import ImageOps

        return prepare(np.asarray(ImageOps.exif_transpose(image)))[0]

    ours = vs.load(
        Embedding().eval(), preprocess=lambda image: torch.from_numpy(prepare(np.asarray(image))[0]), input_size=SIZE, labels=list("abcd")
    )
    first = vs.audit(ours, str(path), transform=forgetful).findings[0]
    assert (first.severity, first.kind) == ("fault", "exif-turn-ignored")
    assert vs.audit(ours, str(path), transform=careful).findings == ()


def test_mean_and_std_of_a_users_own_function_are_measured(model):
    ours = vs.load(
        Embedding().eval(), preprocess=lambda image: torch.from_numpy(prepare(np.asarray(image))[0]), input_size=SIZE, labels=list("abcd")
    )
    from vitscope.api.auditing import own_of

    own = own_of(ours)
    assert np.allclose(own.mean, MEAN, atol=1e-3)
    assert np.allclose(own.std, STD, atol=1e-3)


def test_broken_tensors_are_named(model):
    good = torch.zeros(3, *SIZE)
    kinds = {
        "not-finite": torch.full((3, *SIZE), float("nan")),
        "wrong-size": torch.zeros(3, 32, 64),
        "constant-tensor": good,
    }
    for kind, tensor in kinds.items():
        assert vs.audit(model, picture(), tensor=tensor).findings[0].kind == kind


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"tensor": np.zeros((64, 64, 3))}, "transpose"),
        ({"tensor": np.zeros((2, 3, 64, 64))}, r"expected \[3, h, w\]"),
        ({"tensor": np.zeros((3, 64, 64)), "transform": lambda image: image}, "one of them"),
        ({"mask": np.zeros((10, 10))}, "mask"),
        ({"box": (0, 0, 10, 10), "mask": np.ones((150, 200))}, "one of them"),
    ],
)
def test_refusals(model, given, text):
    with pytest.raises(ArgumentError, match=text):
        vs.audit(model, picture(), **given)


def test_a_model_without_preprocessing_is_refused():
    with pytest.raises(ModelError, match="not known"):
        vs.audit(vs.load(Embedding().eval()), picture())


def test_ranking_is_by_severity_then_weight():
    made = [
        Finding(str(i), severity, "", "", "", weight) for i, (severity, weight) in enumerate([("note", 1), ("fault", 0.1), ("fault", 0.9)])
    ]
    assert [one.kind for one in ranked(made)] == ["2", "1", "0"]


def test_left_over_pixels_are_found():
    class Odd(Embedding):
        def __init__(self):
            super().__init__()
            self.patch_embed = nn.Conv2d(3, 8, 14, 14)

    odd = vs.load(Odd().eval(), input_size=SIZE, mean=MEAN, std=STD, resize="crop", labels=list("abcd"))
    audit = vs.audit(odd, picture())
    assert [one.kind for one in audit.findings] == ["uncovered"]
    assert "8 rows and 8 columns" in audit.findings[0].evidence


def test_every_ending_is_written(model, tmp_path):
    audit = vs.audit(
        model, picture(), tensor=model.prepare([vs.Sample(id="x", pixels=picture()[None])])[0][0].flip(0), box=(20, 20, 60, 60)
    )
    made = vs.write_sheet(audit, tmp_path)
    assert sorted(path.name for path in made) == ["arrays.npz", "findings.json", "report.html", "report.png"]
    html = (tmp_path / "report.html").read_text()
    assert "channels-swapped" in html
    assert "http" not in html.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert html == (vs.write_sheet(audit, tmp_path / "again.html")[0]).read_text()
    assert np.load(tmp_path / "arrays.npz")["patches"].shape == (4, 4, 3, 16, 16)
    with pytest.raises(ArgumentError, match=r"\.html, \.png or \.json"):
        vs.write_sheet(audit, tmp_path / "a.pdf")


class OneSize(nn.Module):
    """Takes pictures of 32 px and no others, and says nothing of it."""

    def __init__(self):
        super().__init__()
        self.cut, self.head = nn.Conv2d(3, 4, 8, stride=8), nn.Linear(4 * 16, 3)

    def forward(self, x):
        return self.head(self.cut(x).flatten(1))


def test_a_model_that_states_no_size_is_asked_at_the_size_it_is_fed():
    def mine(image):
        return torch.from_numpy(np.array(image.resize((32, 32)), dtype=np.float32)).permute(2, 0, 1) / 255

    torch.manual_seed(0)
    found = vs.audit(vs.load(OneSize().eval(), preprocess=mine, mean=0.0, std=1.0), picture())
    assert found.seen_share == pytest.approx(1.0)
    with pytest.raises(ModelError, match="not known"):
        vs.audit(vs.load(OneSize().eval()), picture())
