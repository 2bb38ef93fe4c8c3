"""read_sample: what is taken and what is said about it."""

import contextlib
import hashlib
import io
import warnings

import numpy as np
import pytest
from PIL import Image, ImageFile, ImageOps, TiffImagePlugin

from support import photos
from vitscope.core.sample import Sample
from vitscope.errors import ArgumentError, PhotoError
from vitscope.inputs import read_sample, read_samples


def said(sample):
    return "; ".join(sample.notes)


# ordinary photos


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif", "jp2", "gif", "ppm", "avif"])
def test_ordinary_photos_equal_pil_convert_rgb_without_a_note(tmp_path, suffix):
    path = tmp_path / f"photo.{suffix}"
    try:
        Image.fromarray(photos.scene()).save(path)
    except (OSError, KeyError) as error:
        pytest.skip(f"this PIL cannot write {suffix}: {error}")
    sample = read_sample(path)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(sample.photo, np.asarray(picture.convert("RGB")))
    assert sample.pixels.shape == (1, 48, 64, 3)
    assert sample.pixels.dtype == np.uint8
    assert sample.notes == ()
    assert (sample.id, sample.path, sample.exif) == ("photo", str(path), 1)
    assert sample.digest == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_grey_and_palette_equal_pil_convert_rgb(tmp_path, mode):
    path = tmp_path / "photo.png"
    Image.fromarray(photos.scene()).convert(mode).save(path)
    with Image.open(path) as picture:
        assert picture.mode == mode
        np.testing.assert_array_equal(read_sample(path).photo, np.asarray(picture.convert("RGB")))


def test_the_file_may_be_named_anything(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    Image.fromarray(photos.scene()).save(path, format="PNG")
    np.testing.assert_array_equal(read_sample(path).photo, photos.scene())


def test_sample_comes_back_and_id_can_be_given(tmp_path):
    sample = read_sample(photos.ordinary_jpeg(tmp_path), id="mine")
    assert sample.id == "mine"
    assert read_sample(sample) is sample
    assert read_sample(sample, id="other").id == "other"


def test_several_pictures_get_different_ids(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    paths = [photos.one_pixel(tmp_path / "a"), photos.one_pixel(tmp_path / "b"), photos.scene(), photos.scene()]
    assert [s.id for s in read_samples(paths)] == ["one_pixel", "one_pixel-2", "array", "array-2"]
    assert [s.id for s in read_samples(str(paths[0]))] == ["one_pixel"]
    assert len(read_samples(photos.scene())) == 1
    with pytest.raises(ArgumentError, match="no picture; expected at least one"):
        read_samples([])


# the EXIF turn


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turn_is_applied(tmp_path, orientation, suffix):
    shown = photos.scene()
    path = photos.exif_turned(tmp_path, orientation, shown, suffix)
    sample = read_sample(path)
    assert sample.exif == orientation
    assert sample.size == (48, 64)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(sample.photo, np.asarray(ImageOps.exif_transpose(picture).convert("RGB")))
    tolerance = 0 if suffix in ("png", "tif") else 40
    assert np.abs(sample.photo.astype(int) - shown).max() <= tolerance
    assert ("orientation" in said(sample)) == (orientation != 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turn_of_a_pil_image(tmp_path, orientation):
    path = photos.exif_turned(tmp_path, orientation)
    with Image.open(path) as picture:
        sample = read_sample(picture)
        assert picture.getexif().get(photos.ORIENTATION) == orientation  # the caller's image is as it was
    np.testing.assert_array_equal(sample.photo, photos.scene())
    assert (sample.exif, sample.id, sample.path) == (orientation, path.stem, str(path))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_orientation_that_makes_no_sense_is_ignored(tmp_path, value):
    exif = Image.Exif()
    exif[photos.ORIENTATION] = value
    path = tmp_path / "odd.png"
    Image.fromarray(photos.scene()).save(path, exif=exif)
    sample = read_sample(path)
    assert sample.exif == 1
    np.testing.assert_array_equal(sample.photo, photos.scene())


@pytest.mark.parametrize(
    "block", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 40, b"garbage" * 9]
)
@pytest.mark.filterwarnings("ignore")
def test_damaged_exif_is_survived(tmp_path, block):
    path = tmp_path / "damaged.jpg"
    Image.fromarray(photos.scene()).save(path, exif=block)
    sample = read_sample(path)
    assert sample.exif == 1
    assert sample.size == (48, 64)


# awkward, taken, and said so


EXPECTED = {
    "1×1": ("only 1×1 px", lambda p: (p == (200, 30, 60)).all()),
    "CMYK": ("CMYK converted to RGB", lambda p: np.abs(p.astype(int) - photos.scene()).mean() < 8),
    "16-bit grey": ("16-bit grey scaled to 8 bit: values 1000 to 61000 became 0 to 255", lambda p: p[0, 0, 0] == 0 and p[0, -1, 0] == 255),
    "palette with alpha": (
        "palette with transparency: transparent areas (50% of the picture) shown on white",
        lambda p: (p[:, :32] == 255).all(),
    ),
    "RGBA": ("RGBA with transparency: transparent areas (69% of the picture) shown on white", lambda p: (p[:, :20] == 255).all()),
    "animated GIF": ("first of 12 frames", lambda p: (p == (200, 0, 0)).all()),
    "1500×20": ("1500×20 px, 75 times as wide as high", lambda p: p.shape == (20, 1500, 3)),
}


@pytest.mark.parametrize("case", photos.TAKEN)
def test_awkward_pictures_are_taken_and_said_so(tmp_path, case):
    note, holds = EXPECTED[case]
    sample = read_sample(photos.TAKEN[case](tmp_path))
    assert note in said(sample)
    assert holds(sample.photo)


def test_inverted_cmyk_of_adobe_looks_as_it_should(tmp_path):
    """PIL writes CMYK JPEG with Adobe's marker, inverted: white must come back white."""
    path = tmp_path / "white.jpg"
    Image.new("CMYK", (8, 8), (0, 0, 0, 0)).save(path)
    assert b"Adobe" in path.read_bytes()
    assert (read_sample(path).photo == 255).all()


def test_cmyk_equals_pil_convert(tmp_path):
    path = photos.cmyk_jpeg(tmp_path)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(read_sample(path).photo, np.asarray(picture.convert("RGB")))


def test_a_colour_profile_in_a_cmyk_file_is_said_to_be_unused(tmp_path):
    path = tmp_path / "profile.jpg"
    Image.new("CMYK", (8, 8)).save(path, icc_profile=b"\0" * 200)
    assert "the colour profile in the file was not used" in said(read_sample(path))


def test_transparency_is_laid_on_white_exactly(tmp_path):
    path = photos.rgba_png(tmp_path)
    with Image.open(path) as picture:
        rgba = np.asarray(picture).astype(float)
    alpha = rgba[..., 3:] / 255
    np.testing.assert_array_equal(read_sample(path).photo, np.floor(rgba[..., :3] * alpha + 255 * (1 - alpha) + 0.5 - 1e-9))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_opaque_alpha_changes_nothing_and_is_said(tmp_path, mode):
    path = tmp_path / "opaque.png"
    Image.fromarray(photos.scene()).convert(mode).save(path)
    sample = read_sample(path)
    assert "opaque throughout" in said(sample)
    with Image.open(path) as picture:
        np.testing.assert_array_equal(sample.photo, np.asarray(picture.convert("RGB")))


def test_grey_with_alpha_is_laid_on_white(tmp_path):
    path = tmp_path / "la.png"
    Image.fromarray(np.dstack([np.full((8, 8), 100), np.full((8, 8), 0)]).astype(np.uint8)).save(path)
    sample = read_sample(path)
    assert (sample.photo == 255).all()
    assert "transparent areas (100% of the picture)" in said(sample)


def test_one_transparent_colour_in_an_rgb_png(tmp_path):
    path = tmp_path / "trns.png"
    picture = Image.new("RGB", (8, 8), (1, 2, 3))
    picture.putpixel((0, 0), (9, 9, 9))
    picture.save(path, transparency=(1, 2, 3))
    sample = read_sample(path)
    assert sample.photo[0, 0].tolist() == [9, 9, 9]
    assert (sample.photo[1:] == 255).all()


@pytest.mark.parametrize(
    ("dtype", "mode", "name"),
    [(np.uint16, "I;16", "16-bit grey"), (np.int32, "I", "32-bit grey"), (np.float32, "F", "floating-point grey")],
)
def test_deep_grey_is_scaled_by_the_range_in_the_file(tmp_path, dtype, mode, name):
    values = np.linspace(200, 4095, 64 * 48).reshape(48, 64).astype(dtype)
    path = tmp_path / "deep.tif"
    Image.fromarray(values).save(path)
    with Image.open(path) as picture:
        assert picture.mode == mode
    sample = read_sample(path)
    expected = np.rint((values.astype(float) - 200) / 3895 * 255)
    np.testing.assert_array_equal(sample.photo, np.repeat(expected[..., None], 3, axis=2))
    assert f"{name} scaled to 8 bit: values 200 to 4095 became 0 to 255" in said(sample)


def test_deep_grey_of_a_single_value(tmp_path):
    path = tmp_path / "flat.png"
    Image.fromarray(np.full((40, 40), 3000, np.uint16)).save(path)
    sample = read_sample(path)
    assert (sample.photo == 128).all()
    assert "16-bit grey with the single value 3000: shown as mid-grey" in said(sample)


def test_float_file_with_holes(tmp_path):
    values = np.linspace(0, 1, 40 * 40, dtype=np.float32).reshape(40, 40)
    values[5, 5] = np.nan
    values[6, 6] = np.inf
    path = tmp_path / "holes.tif"
    Image.fromarray(values).save(path)
    sample = read_sample(path)
    assert sample.photo[5, 5].tolist() == [0, 0, 0]
    assert sample.photo[-1, -1].tolist() == [255, 255, 255]
    assert "2 pixels without a value" in said(sample)
    Image.fromarray(np.full((4, 4), np.nan, np.float32)).save(path)
    with pytest.raises(PhotoError, match="no finite value"):
        read_sample(path)


def test_sixteen_bit_colour_keeps_the_upper_half_and_says_so(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (40, 50, 3)).astype(np.uint16)
    sample = read_sample(photos.png16_rgb(tmp_path, values))
    np.testing.assert_array_equal(sample.photo, values >> 8)
    assert "16 bits a channel: the upper 8 kept" in said(sample)


def test_lab_and_ycbcr_tiff(tmp_path):
    scene = photos.scene()
    for mode, word in (("LAB", "Lab colours"), ("YCbCr", "YCbCr")):
        path = tmp_path / f"{mode}.tif"
        if mode == "LAB":
            from PIL import ImageCms

            turn = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
            ImageCms.applyTransform(Image.fromarray(scene), turn).save(path)
        else:
            Image.fromarray(scene).convert(mode).save(path)
        sample = read_sample(path)
        assert np.abs(sample.photo.astype(int) - scene).mean() < 2  # Lab of 8 bits; the brightest colours lie outside it
        assert word in said(sample)


@pytest.mark.parametrize(("suffix", "word"), [("gif", "frames"), ("png", "frames"), ("webp", "frames"), ("tif", "pages")])
def test_first_of_several_frames(tmp_path, suffix, word):
    frames = [Image.new("RGB", (40, 40), (200, 0, 0)), *[Image.new("RGB", (40, 40), (0, 0, 90 + i)) for i in range(3)]]
    path = tmp_path / f"several.{suffix}"
    lossless = {"lossless": True} if suffix == "webp" else {}
    frames[0].save(path, save_all=True, append_images=frames[1:], **lossless)
    sample = read_sample(path)
    assert f"first of 4 {word}" in sample.notes
    assert (sample.photo == (200, 0, 0)).all()


def test_a_pil_image_at_a_later_frame_says_which(tmp_path):
    with Image.open(photos.animated_gif(tmp_path)) as picture:
        picture.seek(3)
        sample = read_sample(picture)
        assert picture.tell() == 3
    assert "number 4 of 12 frames" in sample.notes


# PIL images and arrays


def test_pil_image_without_a_file():
    picture = Image.fromarray(photos.scene())
    sample = read_sample(picture)
    np.testing.assert_array_equal(sample.photo, photos.scene())
    assert (sample.id, sample.path) == ("picture", "")
    assert sample.digest == read_sample(photos.scene()).digest


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (photos.scene(), photos.scene()),
        (photos.scene()[..., 0], np.repeat(photos.scene()[..., :1], 3, axis=2)),
        (photos.scene()[..., :1], np.repeat(photos.scene()[..., :1], 3, axis=2)),
        (photos.scene() / 255.0, photos.scene()),
        ((photos.scene() / 255.0).astype(np.float16), None),
        (photos.scene()[:, ::-1], photos.scene()[:, ::-1]),
        (np.dstack([photos.scene(), np.full((48, 64), 255, np.uint8)]), photos.scene()),
        (np.dstack([photos.scene(), np.zeros((48, 64), np.uint8)]), np.full((48, 64, 3), 255)),
    ],
)
def test_arrays_taken(array, expected):
    sample = read_sample(array)
    assert sample.pixels.flags.c_contiguous
    assert sample.pixels.dtype == np.uint8
    if expected is None:
        assert np.abs(sample.photo.astype(int) - photos.scene()).max() <= 1
    else:
        np.testing.assert_array_equal(sample.photo, expected)
    assert not np.shares_memory(sample.pixels, array)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.zeros((0, 5, 3), np.uint8), r"^array: an array of shape \[0, 5, 3\], without a single pixel; expected uint8"),
        (np.zeros((3, 8, 9), np.uint8), r"shape \[3, 8, 9\]; .*channels come first here: array.transpose\(1, 2, 0\)"),
        (np.zeros((2, 8, 9, 3), np.uint8), r"shape \[2, 8, 9, 3\]; .*a batch: give a list of arrays"),
        (np.zeros(7, np.uint8), r"shape \[7\]"),
        (
            np.zeros((8, 9, 5), np.uint8),
            r"shape \[8, 9, 5\]; expected uint8 \(or float from 0 to 1\) of shape \[H, W, 3\], \[H, W, 4\] or \[H, W\]",
        ),
        (np.zeros((8, 9, 3), np.int64), r"an array of int64; .*scale it to 0..1"),
        (np.zeros((8, 9, 3), np.uint16), r"an array of uint16"),
        (np.zeros((8, 9), bool), r"an array of bool; "),
        (np.zeros((8, 9), complex), r"an array of complex128"),
        (np.full((8, 9), "a"), r"an array of <U1"),
        (np.full((8, 9, 3), np.nan), r"216 of 216 values are NaN or infinite; expected finite values from 0 to 1"),
        (np.full((8, 9, 3), 200.0), r"float values from 200 to 200; expected 0 to 1; divide by 255"),
        (np.full((8, 9, 3), -2.0), r"float values from -2 to -2; expected 0 to 1; scale it first"),
    ],
)
def test_arrays_refused(array, text):
    with pytest.raises(PhotoError, match=text):
        read_sample(array)


@pytest.mark.parametrize("thing", [None, 5, b"bytes", [1, 2], object()])
def test_what_is_no_picture_source_at_all(thing):
    with pytest.raises(ArgumentError, match="expected a path, a PIL image, a numpy array or a Sample"):
        read_sample(thing)


def test_pixels_are_the_readers_own(tmp_path):
    sample = read_sample(photos.ordinary_jpeg(tmp_path))
    assert isinstance(sample, Sample)
    assert sample.pixels.flags.owndata or sample.pixels.base.flags.owndata


def test_no_warning_and_no_open_file(tmp_path):
    """Under -X dev an unclosed file is a ResourceWarning: none may come, nor any of PIL's."""
    import gc

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for make in (*photos.TAKEN.values(), *photos.REFUSED.values()):
            with contextlib.suppress(PhotoError):
                read_sample(make(tmp_path))
        gc.collect()


def test_reading_from_memory_through_pil():
    buffer = io.BytesIO()
    Image.fromarray(photos.scene()).save(buffer, format="PNG")
    np.testing.assert_array_equal(read_sample(Image.open(buffer)).photo, photos.scene())


def test_settings_of_the_process_are_untouched(tmp_path):
    def settings():
        return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, TiffImagePlugin.READ_LIBTIFF, list(warnings.filters)

    before = settings()
    for make in photos.TAKEN.values():
        read_sample(make(tmp_path))
    assert settings() == before
