"""What read_sample refuses: one line, what was found, what to do, and nothing of the process changed."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from support import photos
from vitscope.errors import PhotoError
from vitscope.inputs import MAX_PIXELS, read_sample

SAID = {
    "missing": "no such file; expected a picture file; check the path",
    "empty": "the file is empty (0 bytes)",
    "text renamed .jpg": "text ('This is a letter, not a ' …); expected JPEG, PNG",
    "truncated JPEG": "truncated or damaged JPEG (image file is truncated",
    "truncated PNG": "truncated or damaged PNG (image file is truncated",
    "60,000×60,000 px": "60000×60000 px (3,600 million); expected at most 178 million pixels",
}


def refusal(path, **options):
    with pytest.raises(PhotoError) as caught:
        read_sample(path, **options)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(str(path))
    assert caught.value.exit_code == 2
    return text


@pytest.mark.parametrize("case", photos.REFUSED)
def test_bad_files_are_refused_in_one_line(tmp_path, case):
    assert SAID[case] in refusal(photos.REFUSED[case](tmp_path))


def truncated_jpeg2000(folder):
    path = Path(folder) / "truncated.jp2"
    Image.fromarray(photos.scene(200, 200)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize("make", [photos.truncated_jpeg, photos.truncated_png, truncated_jpeg2000])
def test_truncated_pictures_are_refused_where_the_process_lets_pil_fill_in_grey(tmp_path, monkeypatch, make):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert "the file ends before the picture does" in refusal(make(tmp_path))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp", "jp2", "ppm"])
def test_whole_pictures_are_taken_under_that_setting(tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    path = tmp_path / f"whole.{suffix}"
    Image.fromarray(photos.scene(300, 400)).save(path)
    assert read_sample(path).size == (300, 400)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "tif", "bmp", "jp2", "ppm"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
@pytest.mark.filterwarnings("ignore")
def test_a_file_cut_anywhere_is_refused_or_complete(tmp_path, suffix, share):
    """Where a cut takes only bytes that carry no pixels (an index at the end), the picture must be the whole one."""
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    whole = read_sample(path).photo
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with contextlib.suppress(PhotoError):
        np.testing.assert_array_equal(read_sample(path).photo, whole)


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.filterwarnings("ignore")
def test_flipped_bytes_never_end_in_anything_but_a_photo_or_a_photo_error(tmp_path, seed):
    rng = np.random.default_rng(seed)
    suffix = ["jpg", "png", "gif", "webp", "tif", "bmp", "jp2", "ico"][seed % 8]
    path = tmp_path / f"flipped.{suffix}"
    exif = Image.Exif()
    exif[photos.ORIENTATION] = 6
    Image.fromarray(photos.scene()).save(path, **({"exif": exif} if suffix in ("jpg", "png", "webp", "tif") else {}))
    data = np.frombuffer(path.read_bytes(), np.uint8).copy()
    for trial in range(25):
        broken = data.copy()
        at = rng.integers(0, len(data) if trial % 2 else min(len(data), 200), 1 + trial % 5)
        broken[at] = rng.integers(0, 256, len(at))
        path.write_bytes(broken.tobytes())
        with contextlib.suppress(PhotoError):
            assert read_sample(path, max_pixels=10**6).pixels.dtype == np.uint8


def test_a_bomb_is_refused_from_its_header_alone(tmp_path, monkeypatch):
    path = photos.bomb(tmp_path)
    assert path.stat().st_size < 1000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    refusal(path)


def test_the_limit_is_an_argument_and_ours_alone(tmp_path):
    before = Image.MAX_IMAGE_PIXELS
    path = photos.ordinary_jpeg(tmp_path)
    assert "320×240 px (76,800)" in refusal(path, max_pixels=1000)
    assert read_sample(path, max_pixels=320 * 240).size == (240, 320)
    refusal(path, max_pixels=320 * 240 - 1)
    assert before == Image.MAX_IMAGE_PIXELS
    assert MAX_PIXELS == 178_000_000


def test_pils_own_limit_does_not_matter(tmp_path, monkeypatch):
    """PIL would refuse at twice its limit and warn at once; the picture is within ours."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr("warnings.warn", lambda *a, **k: pytest.fail(f"warned: {a}"))
    assert read_sample(photos.ordinary_jpeg(tmp_path)).size == (240, 320)


def test_a_large_pil_image_or_array_is_refused_too():
    with pytest.raises(PhotoError, match=r"PIL image: 50×40 px"):
        read_sample(Image.new("RGB", (50, 40)), max_pixels=1999)
    with pytest.raises(PhotoError, match=r"array: 50×40 px"):
        read_sample(np.zeros((40, 50, 3), np.uint8), max_pixels=1999)


def test_folder_device_pipe_and_no_permission(tmp_path, monkeypatch):
    assert "this is a folder; expected a picture file; name the pictures in it" in refusal(tmp_path)
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    done = []
    thread = threading.Thread(target=lambda: done.append(refusal(pipe)), daemon=True)  # reading a pipe would wait for ever
    thread.start()
    thread.join(10)
    assert done
    assert "not a regular file" in done[0]
    path = photos.ordinary_jpeg(tmp_path)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything

        def denied(*args):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("vitscope.inputs.opening.io.FileIO", denied)
    assert "may not be read (no permission)" in refusal(path)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "photo: an empty path"),
        ("https://example.org/cat.jpg", "an address, not a file; expected a picture file; download it first"),
        ("nul\0byte.jpg", "cannot be opened"),
        ("x" * 5000, "cannot be opened"),
    ],
)
def test_impossible_paths(path, text):
    with pytest.raises(PhotoError) as caught:
        read_sample(path)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("start", "text"),
    [
        (b'<svg xmlns="http://www.w3.org/2000/svg"></svg>', "an SVG drawing; expected JPEG, PNG, WebP, .*; render it to PNG first"),
        (b'<?xml version="1.0"?>\n<!-- x -->\n<svg></svg>', "an SVG drawing"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 64, "a HEIC photo; .*; convert it to JPEG or PNG first"),
        (b"\0\0\0\x18ftypisom\0\0\0\0mp42" + b"\0" * 64, "a video"),
        (b"<!DOCTYPE html><html></html>", "a web page; .*download the picture itself"),
        (b"%PDF-1.4\n" + b"\xff" * 64, "a PDF document"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "an EPS or PostScript drawing"),
        (b"\0" * 128 + b"DICM" + b"\0" * 64, "a DICOM file"),
        (b"II*\0" + b"\0" * 124 + b"DICM" + b"\0" * 64, "a DICOM file"),
        (b"PK\x03\x04" + b"\0" * 64, "a zip archive"),
        ("Grüße, kein Bild ".encode(), "text "),
        (b"\x93\xff\x01\x00" * 40, "not a picture in a known format"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 30, "damaged JPEG"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 30, "damaged PNG"),
    ],
)
def test_other_files_are_named(tmp_path, start, text):
    path = tmp_path / "other.jpg"
    path.write_bytes(start)
    with pytest.raises(PhotoError, match=text):
        read_sample(path)


def test_a_zero_by_zero_picture_is_refused():
    with pytest.raises(PhotoError, match=r"a picture of 0×4 px; expected at least 1×1"):
        read_sample(Image.new("RGB", (0, 4)))


def test_a_truncated_pil_image_is_refused(tmp_path):
    with Image.open(photos.truncated_jpeg(tmp_path)) as picture, pytest.raises(PhotoError, match="truncated or damaged JPEG"):
        read_sample(picture)


def test_no_file_stays_open_after_a_refusal(tmp_path):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("open files are counted in /proc")
    before = len(list(descriptors.iterdir()))
    for make in (*photos.REFUSED.values(), *photos.TAKEN.values()):
        with contextlib.suppress(PhotoError):
            read_sample(make(tmp_path))
    assert len(list(descriptors.iterdir())) == before


def test_reading_photos_does_not_import_torch():
    code = "import sys, vitscope.inputs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
