"""Pictures without compression that Pillow does not read, or reads one by one.

PBM, PGM and PPM: the header says the brightest value, so greys of 10, 12 or 14 bits
become what they are; Pillow takes a second per million pixels.  BMP: with bit fields
of any width and order.
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL import Image

GAP = rb"(?:\s|#[^\r\n]*[\r\n])+"  # between the header's numbers
NETPBM = re.compile(
    rb"P(?:(?P<bits>[14])|(?P<values>[2356]))%b(?P<w>\d{1,9})%b(?P<h>\d{1,9})"
    rb"(?(values)%b(?P<top>\d{1,9}))\s" % (GAP, GAP, GAP)
)
HEADER = 4096  # bytes in which a header ends
CHANNELS = {b"2": 1, b"3": 3, b"5": 1, b"6": 3}
COMMENT = re.compile(rb"#[^\r\n]*")
PLAIN = re.compile(rb"[\d\s]*")
DEEPEST = 65535
BIT_FIELDS = (3, 6)  # BMP's kinds of compression: RGB masks, RGBA masks
OPAQUE = 255


class Spoilt(ValueError):
    """Bytes that are cut off or make no picture."""


def netpbm_size(content: bytes) -> tuple[int, int] | None:
    """(width, height) of a PBM, PGM or PPM; none for other bytes."""
    found = NETPBM.match(content[:HEADER])
    return (int(found["w"]), int(found["h"])) if found else None


def netpbm(content: bytes) -> Image.Image:
    """The picture in a PBM, PGM or PPM, in mode L or RGB; of several the first.

    Raises:
        Spoilt: It is cut off, or its values are not what its header says.
    """
    from PIL import Image

    found = NETPBM.match(content[:HEADER])
    if found is None:
        raise Spoilt("no header of a PBM, PGM or PPM")
    w, h = int(found["w"]), int(found["h"])
    if not w or not h:
        raise Spoilt("no pixels")
    rest = memoryview(content)[found.end() :]
    if found["bits"]:
        pixels = _bits(rest, w, h, plain=found["bits"] == b"1")
    else:
        channels = CHANNELS[found["values"]]
        top = int(found["top"])
        if not 0 < top <= DEEPEST:
            raise Spoilt(f"a brightest value of {top}")
        plain = found["values"] in (b"2", b"3")
        pixels = _values(rest, w * h * channels, top, plain=plain)
        pixels = pixels.reshape((h, w) if channels == 1 else (h, w, channels))
    picture = Image.fromarray(pixels)
    picture.format = "PPM"
    return picture


def _bits(rest: memoryview, w: int, h: int, *, plain: bool) -> NDArray[np.uint8]:
    """(h, w): 255 for each 0, which is white."""
    if plain:
        text = COMMENT.sub(b"", bytes(rest)).translate(None, b" \t\r\n\v\f")[: w * h]
        ones = np.frombuffer(text, np.uint8) - ord("0")
        if len(ones) < w * h or (ones > 1).any():
            raise Spoilt("not as many pixels as its header says")
    else:
        row = -(-w // 8)
        if len(rest) < row * h:
            raise Spoilt("not as many pixels as its header says")
        packed = np.frombuffer(rest, np.uint8, row * h).reshape(h, row)
        ones = np.unpackbits(packed, axis=1, count=w)
    return np.asarray((1 - ones.reshape(h, w)) * 255, np.uint8)


def _values(rest: memoryview, n: int, top: int, *, plain: bool) -> NDArray[np.uint8]:
    """(n,) values, of which `top` becomes 255."""
    values: NDArray[np.integer]
    if plain:
        text = COMMENT.sub(b" ", bytes(rest))
        if not PLAIN.fullmatch(text):
            raise Spoilt("no numbers where its header announces them")
        if text.strip():  # of no text NumPy makes one number
            values = np.fromstring(text.decode(), np.int64, sep=" ")[:n]
        else:
            values = np.empty(0, np.int64)
    else:
        kind = np.dtype("u1" if top < 256 else ">u2")
        n_read = min(n, len(rest) // kind.itemsize)
        values = np.frombuffer(rest, kind, n_read)
    if len(values) < n:
        raise Spoilt("not as many pixels as its header says")
    if top == OPAQUE and not plain:
        return np.asarray(values, np.uint8)
    if int(values.max()) > top or int(values.min()) < 0:
        raise Spoilt(f"values above {top}, its own brightest")
    scaled = (np.arange(top + 1) * 510 + top) // (2 * top)  # rounded
    return np.asarray(scaled.astype(np.uint8)[values])


def bit_fields(content: bytes, most: int) -> Image.Image | None:
    """The picture of a BMP with bit fields of 16 or 32 bits; none for other bytes.

    Args:
        content: The file.
        most: Pixels that it may have.

    Raises:
        Spoilt: It is cut off, too large, or a mask has holes.
    """
    from PIL import Image

    if len(content) < 66 or not content.startswith(b"BM"):
        return None
    start, header, w, h = struct.unpack_from("<IIii", content, 10)
    bits, kind = struct.unpack_from("<HI", content, 28)
    if header < 40 or kind not in BIT_FIELDS or bits not in (16, 32):
        return None
    row = (w * bits + 31) // 32 * 4
    if w < 1 or not h or w * abs(h) > most or start + row * abs(h) > len(content):
        raise Spoilt("not as many pixels as its header says")
    masks = struct.unpack_from("<4I", content, 54)
    if header < 56 and kind == BIT_FIELDS[0]:
        masks = (*masks[:3], 0)
    raw = np.frombuffer(content, np.uint8, row * abs(h), start).reshape(abs(h), row)
    values = raw.view(f"<u{bits // 8}")[:, :w]
    values = values if h < 0 else values[::-1]
    channels = [_field(values, mask) for mask in masks]
    if not masks[3] or not channels[3].any():  # no alpha, or one that nobody filled
        channels = channels[:3]
    picture = Image.fromarray(np.stack(channels, axis=2))
    picture.format = "BMP"
    return picture


def _field(values: NDArray[np.integer], mask: int) -> NDArray[np.uint8]:
    """One channel, 0 to 255."""
    if not mask:
        return np.zeros(values.shape, np.uint8)
    low = (mask & -mask).bit_length() - 1
    top = mask >> low
    if top & (top + 1):
        raise Spoilt("a bit field with holes")
    own = (values.astype(np.uint32) & np.uint32(mask)) >> np.uint32(low)
    more = max(0, top.bit_length() - 8)
    own, top = own >> np.uint32(more), top >> more
    return np.asarray((own * 510 + top) // (2 * top), np.uint8)
