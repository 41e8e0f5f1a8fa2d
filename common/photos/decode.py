"""A photo becomes an array: the one place where picture files are decoded.

Photos come with transparency, rotation, wrong suffixes and broken ends, and hostile
files exist.  What is done, in this order: a limit on bytes; a fixed list of formats;
a limit on pixels, before any is decoded; decoding; EXIF orientation; 16 bits scaled to
8; transparent parts laid on a colour; RGB (or grey); then the wanted size.

Memory: a picture at the limit holds MAX_PIXELS * 4 bytes, at most five times at once.
A large JPEG is decoded at a fraction of its size, and what counts is what is decoded;
a progressive one holds two bytes for each value of the whole, which its own limit
keeps below the same.
Colour profiles are not applied.  Nothing here changes a setting of Pillow's.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from common.errors import Refused
from common.photos import mend, raster
from common.photos.foreign import DEVELOP, TIFF, camera_raw, foreign

if TYPE_CHECKING:
    from PIL import Image, ImageFile

# Raster formats that photos come in.  Each one more is one more decoder to trust.
# (Pillow's JPEG reader also reads MPO, several JPEGs in one file.)
# PBM, PGM and PPM are read by `raster`.
FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF")
SUFFIXES = {
    **dict.fromkeys((".jpg", ".jpeg", ".jpe", ".jfif"), ("JPEG", "MPO")),
    **dict.fromkeys((".tif", ".tiff"), ("TIFF",)),
    ".png": ("PNG",),
    ".gif": ("GIF",),
    ".webp": ("WEBP",),
    ".bmp": ("BMP",),
    **dict.fromkeys((".pbm", ".pgm", ".ppm", ".pnm"), ("PPM",)),
}
JPEGS = SUFFIXES[".jpg"]
MAX_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000  # that are decoded: a phone's 48 megapixels, with room
# Of a JPEG that is decoded at a fraction: a phone's 200 megapixels, with room.
MAX_DRAFTED = 256_000_000
MAX_PROGRESSIVE = 128_000_000  # its whole is held in memory, two bytes a value
# A large JPEG is decoded at a fraction of its size, which its format allows, but at
# no less than so many times the wanted size: the filter still has enough to average.
DRAFT_PIXELS = 8_000_000
DRAFT_TIMES = 4
CENTRE = 342 / 299  # torchvision's IMAGENET1K_V1 of Inception v3: resize, then crop

How = Literal["pad", "fit", "stretch", "centre"]
Filter = Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
Colour = tuple[int, int, int]
BLACK: Colour = (0, 0, 0)
GREY_MODES = ("1", "L", "LA", "La")
ORIENTATION = 0x0112  # EXIF's tag
# How files of our formats begin: one that does is damaged if it cannot be read.
MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM", *TIFF)
# What greys stored with 16 bits may really have: cameras and scanners write fewer.
DEPTHS = (8, 10, 12, 14, 16)
DEEP = re.compile(r";16[BLN]")  # what Pillow calls colours of 16 bits
BITS_PER_SAMPLE = 258  # TIFF's tag
DIM = 64  # of 256: colours stored with 16 bits whose brightest is below have fewer

CUT = "its end is missing, every row is there"


class BadPicture(ValueError):
    """A file that gives no picture.

    Attributes:
        name: Which file.
        found: What is wrong with it, in a few words.
        advice: What to do.
    """

    def __init__(self, name: str, found: str, advice: str) -> None:
        self.name = name
        self.found = found
        self.advice = advice
        super().__init__(
            "a photo must be a whole JPEG, PNG, GIF, WebP, BMP, TIFF or PPM, got "
            f"{name} ({found}); {advice}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Framing:
    """How a picture is brought to a size.

    Attributes:
        size: (height, width) in pixels, or none to leave it as it is.
        how: "fit" cuts the longer side off; "pad" keeps all of it, centred on
            `colour`; "stretch" gives up its proportions; "centre" cuts the middle out
            of the picture whose short side has CENTRE times the size, as ImageNet's
            networks are judged (342 for 299 px in torchvision): nothing is padded.
        filter: Of the resampling; all but "nearest" average when they shrink.
        colour: (red, green, blue), 0 to 255, behind transparent parts and padding.
        channels: 3 for RGB, 1 for grey, none for grey where it is stored as grey.
        depth: Bits that greys stored with 16 have at least; 0 to judge by the picture.

    Raises:
        Refused: A value is out of its range.
    """

    size: tuple[int, int] | None = None
    how: How = "fit"
    filter: Filter = "bicubic"
    colour: Colour = BLACK
    channels: Literal[1, 3] | None = 3
    depth: int = 0

    def __post_init__(self) -> None:
        for field, allowed in (("how", How), ("filter", Filter)):
            if getattr(self, field) not in get_args(allowed):
                raise Refused(
                    f"--{field} must be one of {', '.join(get_args(allowed))}, got "
                    f"{getattr(self, field)}; choose one"
                )
        if len(self.colour) != 3 or not all(0 <= v <= 255 for v in self.colour):
            raise Refused(
                f"a colour is three numbers 0 to 255, got {self.colour}; use one like "
                "(125, 123, 114)"
            )
        if self.size is not None and min(self.size) < 1:
            raise Refused(
                f"a size is height and width in pixels, got {self.size}; use (32, 32)"
            )


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded photo.

    Attributes:
        pixels: (h, w, channels), uint8.
        size: (height, width) of the photo itself, upright.
        notes: What was found and done that its owner may not expect.
        depth: Bits that its greys, stored with 16, were taken to have; 0 for others.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    notes: tuple[str, ...]
    depth: int = 0


def read(
    source: Path | str | bytes | BinaryIO, framing: Framing, *, name: str = ""
) -> Picture:
    """Decode one photo: a path, the bytes of a file, or an open binary file.

    Args:
        source: The photo.
        framing: How it is brought to a size.
        name: What a message calls it; its path unless given.

    Raises:
        BadPicture: It cannot be read, is damaged, too large, no picture, or would
            vanish; the message is one line.
    """
    name = name or _name(source)
    content = _checked(name, source)
    try:
        with warnings.catch_warnings():
            # A decoder's warnings are about details; the bombs are judged here.
            warnings.simplefilter("ignore")
            return _read(name, content, framing)
    except BadPicture:
        raise
    except Exception as error:  # a decoder raises whatever the bytes drive it to
        raise _damaged(name, content, error) from error


def framing_for(
    image: tuple[int, int, int], how: str, filter: str, colour: str
) -> Framing:
    """How photos are brought to what a network takes, `image` = (h, w, channels).

    Raises:
        Refused: An option has no such value.
    """
    h, w, channels = image
    options: Any = {"how": how, "filter": filter, "channels": channels}
    return Framing(size=(h, w), colour=parse_colour(colour), **options)


def parse_colour(text: str) -> Colour:
    """(red, green, blue) of "#7d7b72", "white" or "rgb(125, 123, 114)".

    Raises:
        Refused: It is none of these.
    """
    from PIL import ImageColor

    try:
        red, green, blue = ImageColor.getrgb(text)[:3]
    except ValueError as error:
        raise Refused(
            f"a colour must have a name or be like #7d7b72, got {text}; use one"
        ) from error
    return red, green, blue


def printable(name: str | os.PathLike[str]) -> str:
    """A file's name on one line, whatever bytes it is made of."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text
    )


# --- bytes ----------------------------------------------------------------------


def content_of(path: Path) -> bytes:
    """The bytes of a photo's file, checked but not decoded.

    Raises:
        BadPicture: It cannot be read, is empty, or too large.
    """
    return _checked(printable(path), path)


def _name(source: Path | str | bytes | BinaryIO) -> str:
    if isinstance(source, bytes):
        return "the bytes given"
    if isinstance(source, str | os.PathLike):
        return printable(source)
    told = getattr(source, "name", None)
    return printable(told) if isinstance(told, str) else "the file given"


def _checked(name: str, source: Path | str | bytes | BinaryIO) -> bytes:
    """The bytes of a photo, never more than the limit."""
    if isinstance(source, bytes):
        content = source
    elif isinstance(source, str | os.PathLike):
        content = _file(name, source)
    else:
        content = b""
        # A raw file may give less than it is asked for.
        while more := source.read(MAX_BYTES + 1 - len(content)):
            content += more
    if not content:
        raise BadPicture(name, "zero bytes", "get the file again")
    if len(content) > MAX_BYTES:
        found = f"over {MAX_BYTES >> 20} MiB"
        raise BadPicture(name, found, "save it smaller")
    return content


def _file(name: str, path: Path | str | os.PathLike[str]) -> bytes:
    try:
        # Without O_NONBLOCK, opening a FIFO that nobody writes to never ends.
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                found = "no file of data but a pipe, socket or device"
                raise BadPicture(name, found, "name a file")
            return file.read(MAX_BYTES + 1)
    except BadPicture:
        raise
    except IsADirectoryError as error:
        raise BadPicture(name, "a folder", "name a file") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        found = getattr(error, "strerror", None) or str(error)
        raise BadPicture(name, found, "name a file that can be read") from error


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _damaged(name: str, content: bytes, error: Exception) -> BadPicture:
    """What to say of bytes that Pillow made no picture of."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        found = f"a multiple of the {MAX_PIXELS:,} pixels that are allowed"
        return BadPicture(name, found, "save it smaller")
    if isinstance(error, UnidentifiedImageError) and not content.startswith(MAGIC):
        return BadPicture(name, *foreign(content))
    if isinstance(error, UnidentifiedImageError):
        return BadPicture(name, "damaged at its beginning", "get the file again")
    found = " ".join(str(error).split())[:80] or type(error).__name__
    return BadPicture(name, f"damaged: {found}", "get the file again")


# --- pixels ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A decoded picture, perhaps at a fraction of its size.

    Attributes:
        image: As it is stored: not turned, in its own mode.
        size: (height, width) of the whole, not turned.
        notes: Of the file, not of the pixels.
        deep: Whether colours were stored with 16 bits, of which 8 are left.
        depth: Bits of its greys, where the file says it; else 0.
    """

    image: Image.Image
    size: tuple[int, int]
    notes: tuple[str, ...]
    deep: bool = False
    depth: int = 0


def _read(name: str, content: bytes, framing: Framing) -> Picture:
    from PIL import ImageOps

    if kind := camera_raw(name, content):
        raise BadPicture(name, f"a camera's raw file ({kind})", DEVELOP)
    try:
        loaded = _loaded(name, content, framing)
    except BadPicture:
        raise
    except Exception as error:  # whatever the bytes drive a decoder to
        loaded = _mended(name, content, framing, error)
    notes, whole = list(loaded.notes), loaded.size
    picture = ImageOps.exif_transpose(loaded.image)
    if (picture.height > picture.width) != (whole[0] > whole[1]):
        whole = whole[::-1]  # it has been turned
    if loaded.deep and _brightest(picture) < DIM:
        notes.append(
            f"colours of 16 bits, the brightest {_brightest(picture)} of 255: dark, "
            "or of fewer bits; if so save it with 8"
        )
    depth = 0
    if picture.mode.startswith("I;16"):
        depth = _depth(picture, max(framing.depth, loaded.depth), notes)
        picture = _eight_bits(picture, depth)
    if loaded.image.format == "BMP" and picture.mode == "RGBA":
        picture = _shown(picture, notes)
    picture = _flat(name, picture, framing.colour, notes)
    if framing.channels is not None:
        picture = picture.convert("RGB" if framing.channels == 3 else "L")
    pixels = np.array(_framed(picture, framing), np.uint8, order="C")
    if (pixels == pixels[0, 0]).all():
        notes.append("one colour all over")
    solid = pixels if pixels.ndim == 3 else pixels[..., None]
    return Picture(solid, whole, tuple(notes), depth)


def _loaded(name: str, content: bytes, framing: Framing) -> _Loaded:
    """The picture in bytes, decoded."""
    if size := raster.netpbm_size(content):
        _check_size(name, size, framing)
        _check_pixels(name, size, MAX_PIXELS)
        picture = raster.netpbm(content)
        return _Loaded(picture, size[::-1], tuple(_findings(name, picture)))
    opened = _opened(content)
    _check_size(name, opened.size, framing)
    whole = opened.height, opened.width
    _draft(name, opened, framing)
    deep = any(DEEP.search(str(tile[3])) for tile in opened.tile)
    notes = tuple(_findings(name, opened))  # which decodes a PNG
    opened.load()
    grey = opened.mode.startswith("I;16")
    return _Loaded(opened, whole, notes, deep and not grey, _said_depth(opened))


def _said_depth(opened: ImageFile.ImageFile) -> int:
    """Bits of a value where a TIFF says fewer than 16, else 0."""
    said = getattr(opened, "tag_v2", {}).get(BITS_PER_SAMPLE)
    bits = said[0] if isinstance(said, tuple) and said else 0
    return bits if bits in DEPTHS[:-1] else 0


def _opened(content: bytes) -> ImageFile.ImageFile:
    """The picture in bytes, its header read."""
    from PIL import Image, JpegImagePlugin, UnidentifiedImageError

    if not content.startswith(mend.JPEG):
        return Image.open(BytesIO(content), formats=FORMATS)
    try:  # `open` would count pixels that are never decoded
        return JpegImagePlugin.jpeg_factory(BytesIO(content))
    except (SyntaxError, IndexError, TypeError, struct.error) as error:
        raise UnidentifiedImageError(str(error)) from error


def _draft(name: str, opened: ImageFile.ImageFile, framing: Framing) -> None:
    """Have a large JPEG decoded at a fraction; refuse what is still too large."""
    w, h = opened.size
    jpeg = opened.format in JPEGS
    if not jpeg or not framing.size:
        or_fitted = ", or name the size to fit it into" if jpeg else ""
        _check_pixels(name, (w, h), MAX_PIXELS, f"save it smaller{or_fitted}")
        return
    progressive = "progressive" in opened.info
    _check_pixels(name, (w, h), MAX_PROGRESSIVE if progressive else MAX_DRAFTED)
    if w * h > DRAFT_PIXELS:
        for times in (DRAFT_TIMES, DRAFT_TIMES // 2, 1):
            side = times * max(framing.size)
            scale = next((s for s in (8, 4, 2) if min(w, h) // side >= s), 1)
            if w * h <= MAX_PIXELS * scale**2:
                break
        opened.draft(None, (side, side))
    _check_pixels(name, opened.size, MAX_PIXELS)


def _check_pixels(
    name: str, size: tuple[int, int], most: int, advice: str = "save it smaller"
) -> None:
    """Refuse a picture (width, height) of more pixels than that."""
    w, h = size
    if w * h > most:
        found = f"{w:,} x {h:,} pixels, of at most {most:,}"
        raise BadPicture(name, found, advice)


def _mended(name: str, content: bytes, framing: Framing, error: Exception) -> _Loaded:
    """The picture in bytes that were refused for something beside the pixels.

    Raises:
        Exception: `error`, where it is the pixels.
    """
    if freed := mend.without_texts(content):
        bare, missed = freed
        loaded = _loaded(name, bare, framing)
        told = ("a text of over 1 MiB in it is not read",) if missed else ()
        return replace(loaded, notes=(*loaded.notes, *told))
    if picture := raster.bit_fields(content, MAX_PIXELS):
        _check_size(name, picture.size, framing)
        size = picture.height, picture.width
        return _Loaded(picture, size, tuple(_findings(name, picture)))
    if both := mend.ended(content):
        one, other = (_loaded(name, whole, framing) for whole in both)
        if one.image.tobytes() == other.image.tobytes():
            return replace(one, notes=(*one.notes, CUT))
        found = "damaged: its end is missing, and rows with it"
        raise BadPicture(name, found, "get the file again")
    raise error


def _check_size(name: str, size: tuple[int, int], framing: Framing) -> None:
    """Refuse a picture (width, height) of which nothing would be left."""
    w, h = size
    if framing.size is None:
        return
    # Before EXIF has turned it, so both ways must leave something.
    high, wide = framing.size
    scale = min(wide / w, high / h, wide / h, high / w)
    if round(min(w, h) * scale) == 0:
        found = f"{w:,} x {h:,} pixels, too narrow to be seen in {wide} x {high}"
        raise BadPicture(name, found, "cut a part out of it")


def _findings(name: str, opened: Image.Image) -> Iterator[str]:
    """What the owner of an open file may not expect."""
    kind = opened.format or ""
    suffix = Path(name).suffix.lower()
    if suffix and kind not in SUFFIXES.get(suffix, (kind,)):
        yield f"called {suffix}, is {kind}"
    if getattr(opened, "is_animated", False):
        moves = kind in ("GIF", "WEBP", "PNG")
        yield "first frame of an animation" if moves else "first of several pictures"
    orientation = opened.getexif().get(ORIENTATION, 1)
    if orientation in range(2, 9):
        yield f"turned upright (EXIF orientation {orientation})"


def _flat(
    name: str, picture: Image.Image, colour: Colour, notes: list[str]
) -> Image.Image:
    """The picture in mode L if it has no colours, else RGB; nothing transparent."""
    from PIL import Image

    grey = picture.mode in GREY_MODES
    if picture.mode in ("I", "F"):
        found = f"pixels of mode {picture.mode}, whose range is not known"
        raise BadPicture(name, found, "save it with 8 or 16 bits")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema() != (255, 255):
            notes.append("transparent parts filled")
        behind = Image.new("RGBA", picture.size, (*colour, 255))
        picture = Image.alpha_composite(behind, picture)
        grey = grey and len(set(colour)) == 1
    wanted = "L" if grey else "RGB"
    return picture if picture.mode == wanted else picture.convert(wanted)


def _shown(picture: Image.Image, notes: list[str]) -> Image.Image:
    """A bitmap without the transparency that its writer left at zero, as viewers do."""
    if picture.getchannel("A").getextrema() != (0, 0):
        return picture
    notes.append("its empty transparency is not used")
    return picture.convert("RGB")


def _brightest(picture: Image.Image) -> int:
    """The largest value of any colour, 0 to 255."""
    colours = picture.split()
    colours = colours[:-1] if picture.mode in ("RGBA", "LA") else colours
    return max(int(one.getextrema()[1]) for one in colours)  # type: ignore[arg-type]


def _depth(picture: Image.Image, least: int, notes: list[str]) -> int:
    """Bits that greys stored with 16 are taken to have, of DEPTHS; a guess is noted.

    Cameras, scanners and microscopes of 10, 12 or 14 bits write their values as they
    are: read as 16 bits they would be almost black.
    """
    top = int(np.asarray(picture).max())
    depth = max(least, next(bits for bits in DEPTHS if top < 1 << bits))
    if depth < DEPTHS[-1] and top and not least:
        notes.append(taken_as(depth, top))
    return depth


def taken_as(depth: int, top: int) -> str:
    """What is said of greys of 16 bits that use fewer."""
    return (
        f"greys of 16 bits up to {top:,} of 65,535: taken as {depth} bits, 0 to "
        f"{(1 << depth) - 1:,}"
    )


def _eight_bits(picture: Image.Image, depth: int) -> Image.Image:
    """The high 8 of `depth` bits; `convert` would clip all above 255 to white."""
    from PIL import Image

    values = np.asarray(picture)
    grey = Image.fromarray((values >> (depth - 8)).astype(np.uint8))
    clear = picture.info.get("transparency")
    if clear is not None:  # one of the 65,536 greys stands for "nothing here"
        alpha = np.where(values == clear, 0, 255).astype(np.uint8)
        grey.putalpha(Image.fromarray(alpha))
    return grey


def _framed(picture: Image.Image, framing: Framing) -> Image.Image:
    """The picture at the wanted size."""
    from PIL import Image, ImageOps

    if framing.size is None or framing.size == (picture.height, picture.width):
        return picture
    size = framing.size[::-1]
    method = Image.Resampling[framing.filter.upper()]
    if framing.how == "stretch":
        return picture.resize(size, method)
    if framing.how == "fit":
        return ImageOps.fit(picture, size, method)
    if framing.how == "centre":
        return _centre(picture, size, method)
    dot = Image.new("RGB", (1, 1), framing.colour).convert(picture.mode)
    fill: Any = dot.getpixel((0, 0))  # one number for a grey picture, else three
    return ImageOps.pad(picture, size, method, color=fill)


def _centre(
    picture: Image.Image, size: tuple[int, int], method: Image.Resampling
) -> Image.Image:
    """The middle, (width, height), of the picture made a little larger than that."""
    pairs = list(zip(size, picture.size, strict=True))
    scale = max(round(CENTRE * side) / had for side, had in pairs)
    w, h = (max(round(scale * had), side) for side, had in pairs)
    large = picture.resize((w, h), method)
    left, top = (w - size[0]) // 2, (h - size[1]) // 2
    return large.crop((left, top, left + size[0], top + size[1]))


RESIZED = "Pillow, bilinear"  # what `resized` does, for fingerprints


def resized(images: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pictures (n, h, w, c), each resized to (height, width) by Pillow, bilinear.

    Frameworks' own resizing differs by up to 138 levels; this one is for both.
    """
    from PIL import Image

    n, h, w, c = images.shape
    if (h, w) == size:
        return images
    out = np.empty((n, *size, c), np.uint8)
    for k, pixels in enumerate(images):
        picture = Image.fromarray(pixels if c == 3 else pixels[..., 0])
        small = picture.resize(size[::-1], Image.Resampling.BILINEAR)
        out[k] = np.asarray(small).reshape(*size, c)
    return out
