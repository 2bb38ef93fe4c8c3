"""What a file is, from its first bytes: so that a refusal can say what to do."""

from __future__ import annotations

#: Formats read, in the order they are tried: pictures only, nothing that runs another program (EPS) or is no photo (WMF, HDF5).
READ = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF", "JPEG2000", "PPM", "ICO", "QOI")

NAMES = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, JPEG 2000 or PPM"

#: What one of several pictures in a file is called.
FRAME_NAMES = {"TIFF": "pages", "MPO": "pictures", "ICO": "sizes"}

_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_CONVERT = "convert it to PNG or JPEG first"
_SIGNATURES = (
    (b"%PDF", "a PDF document", "save the page as PNG first"),
    (b"%!PS", "an EPS or PostScript drawing", _CONVERT),
    (b"\xc5\xd0\xd3\xc6", "an EPS drawing", _CONVERT),
    (b"8BPS", "a Photoshop file", _CONVERT),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM video", "save one frame as PNG first"),
    (b"PK\x03\x04", "a zip archive", "unpack it first"),
    (b"\x1f\x8b", "a gzip archive", "unpack it first"),
    (b"\x93NUMPY", "a NumPy array file", "load it with numpy.load and give the array"),
    (b"\x89HDF", "an HDF5 file", "give the array in it"),
)


def known_by_signature(head: bytes) -> tuple[str, str] | None:
    """What a file that is no picture we read shows itself to be, and what to do about it, from its first bytes."""
    for signature, name, todo in _SIGNATURES:
        if head.startswith(signature):
            return name, todo
    if is_dicom(head):
        return "a DICOM file", _CONVERT
    if head[4:8] == b"ftyp":
        if head[8:12] in _HEIC_BRANDS:
            return "a HEIC photo", "convert it to JPEG or PNG first (heif-convert photo.heic photo.jpg)"
        return "a video or an unknown ISO media file", "save one frame as PNG first"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "an AVI video", "save one frame as PNG first"
    return None


def is_dicom(head: bytes) -> bool:
    """DICOM files may carry the beginning of a TIFF before their own mark."""
    return head[128:132] == b"DICM"


def as_text(head: bytes) -> tuple[str, str]:
    """Drawings, web pages and plain text; anything else is unknown bytes."""
    lowered = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if b"<svg" in lowered:
        return "an SVG drawing", "render it to PNG first"
    if lowered.startswith((b"<!doctype html", b"<html")):
        return "a web page", "download the picture itself"
    try:
        text = head.decode("utf-8", errors="strict")
    except UnicodeDecodeError as error:
        # a cut in the middle of the last character is still text
        text = head[: error.start].decode("utf-8") if error.start >= len(head) - 3 else "\0"
    if text and "\0" not in text:
        return f"text ({text.strip()[:24]!r} …)", "give a picture file"
    return "not a picture in a known format", "check the file, or convert it to PNG or JPEG"
