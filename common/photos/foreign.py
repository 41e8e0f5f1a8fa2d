"""What a file is that no decoder of ours reads, by its bytes, and what to do."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import PurePath

SNIFF = 1024  # bytes that are looked at
CONVERT = "convert it to PNG or JPEG"
DEVELOP = "export it as JPEG or PNG with the camera's program"
LFS = b"version https://git-lfs"

# Raw files of cameras that begin like nothing else.
RAW = (
    (b"IIU\0", "Panasonic RW2"),
    (b"IIRO", "Olympus ORF"),
    (b"IIRS", "Olympus ORF"),
    (b"MMOR", "Olympus ORF"),
    (b"FUJIFILMCCD-RAW", "Fujifilm RAF"),
    (b"FOVb", "Sigma X3F"),
    (b"\0MRM", "Minolta MRW"),
)
# Raw files that are TIFF inside; Pillow opens the thumbnail that they begin with.
TIFF = (b"II*\0", b"MM\0*")
TIFF_RAW = {
    **{".cr2": "Canon CR2", ".nef": "Nikon NEF", ".nrw": "Nikon NRW"},
    **{".arw": "Sony ARW", ".sr2": "Sony SR2", ".srf": "Sony SRF", ".dng": "DNG"},
    **{".pef": "Pentax PEF", ".srw": "Samsung SRW", ".3fr": "Hasselblad 3FR"},
    **{".iiq": "Phase One IIQ", ".rwl": "Leica RWL", ".erf": "Epson ERF"},
    **{".kdc": "Kodak KDC", ".dcr": "Kodak DCR", ".mef": "Mamiya MEF"},
    **{".mos": "Leaf MOS", ".raw": "raw"},
}
DNG_VERSION, SUBFILE, SUB_IFDS = 0xC612, 0x00FE, 0x014A
PHOTOMETRIC, OF_SENSORS = 0x0106, (32803, 34892)  # a mosaic of filters; linear raw
MAX_ENTRIES = 512


def camera_raw(name: str, content: bytes) -> str:
    """Which camera's raw file it is, or "" for none.

    TIFF's magic is not enough to tell: a raw file of most cameras has it, and then a
    thumbnail first, which a TIFF reader takes for the picture.
    """
    for magic, kind in RAW:
        if content.startswith(magic):
            return kind
    if content[6:14] == b"HEAPCCDR":
        return "Canon CRW"
    if content[4:12] == b"ftypcrx ":
        return "Canon CR3"
    if not content.startswith(TIFF):
        return ""
    if content[8:10] == b"CR":
        return "Canon CR2"
    tags = dict(_first_tags(content))
    by_name = TIFF_RAW.get(PurePath(name).suffix.lower(), "")
    if DNG_VERSION in tags:
        return by_name or "DNG"
    reduced = tags.get(SUBFILE, 0) & 1 and SUB_IFDS in tags
    if reduced or tags.get(PHOTOMETRIC) in OF_SENSORS:
        return by_name or "of a kind that is TIFF inside"
    return by_name


def _first_tags(content: bytes) -> Iterator[tuple[int, int]]:
    """(tag, its value or where it is) of the first directory of a TIFF."""
    order = "<" if content.startswith(b"II") else ">"
    try:
        (start,) = struct.unpack_from(f"{order}I", content, 4)
        (n,) = struct.unpack_from(f"{order}H", content, start)
        for k in range(min(n, MAX_ENTRIES)):
            at = start + 2 + 12 * k
            tag, kind, _ = struct.unpack_from(f"{order}HHI", content, at)
            short = kind == 3
            form = f"{order}H" if short else f"{order}I"
            yield tag, struct.unpack_from(form, content, at + 8)[0]
    except struct.error:
        return  # cut off: what was read is told


def foreign(content: bytes) -> tuple[str, str]:
    """What bytes are that no decoder of ours knows, and what to do."""
    start = content[:SNIFF]
    if start.startswith(LFS):
        return "a Git LFS pointer, not the picture itself", "fetch it with git lfs pull"
    brand = start[8:12] if start[4:8] == b"ftyp" else b""
    if brand in (b"avif", b"avis"):
        return "AVIF, which is not supported", CONVERT
    if brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1"):
        return "HEIC, which is not supported", f"{CONVERT}, or set the camera to JPEG"
    if brand:
        return "a video or another kind of media file", "save a picture of it"
    for magic, kind in (
        (b"%PDF", "PDF"),
        (b"8BPS", "Photoshop"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\0\0\x01\0", "an icon"),
        (b"gimp xcf", "a GIMP file"),
        (b"v/1\x01", "OpenEXR"),
        (b"#?RADIANCE", "Radiance HDR"),
        (b"II+\0", "BigTIFF"),
        (b"MM\0+", "BigTIFF"),
        (b"P7\n", "PAM"),
        (b"Pf\n", "a PFM file"),
        (b"PF\n", "a PFM file"),
    ):
        if start.startswith(magic):
            return f"{kind}, which is not supported", CONVERT
    if start[128:132] == b"DICM":
        return "DICOM, which is not supported", CONVERT
    if start.startswith((b"PK\x03\x04", b"\x1f\x8b", b"Rar!", b"7z\xbc\xaf")):
        return "an archive", "unpack it"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "a web page", "save the picture that it shows"
    if b"<svg" in text:
        return "SVG, which is not supported", "export it as PNG"
    return "not a picture", "name a picture"
