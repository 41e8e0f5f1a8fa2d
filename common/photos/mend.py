"""Files with whole pixels that a decoder refuses for something else in them.

A PNG may carry megabytes of text or of a colour profile, which decoders limit; a JPEG
may have lost its last bytes and still have every row.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator

PNG = b"\x89PNG\r\n\x1a\n"
TEXTS = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
# Texts that may say how a photo is to be turned; they stay unless they are large.
TURNING = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
LARGE = 1 << 20  # bytes; Pillow's limit for one text, which is left as it is

JPEG = b"\xff\xd8\xff"
END = b"\xff\xd9"
# A marker that ends a scan: no stuffed zero, no restart, no filling.
FILLED = re.compile(rb"\xff+")
NEXT = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
BARE = (0x01, *range(0xD0, 0xDA))  # markers without a length
FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended, progressive
SCAN = 0xDA
COEFFICIENTS = 64
FILLING = 4096  # bytes, more than the last blocks of a picture need


def without_texts(content: bytes) -> tuple[bytes, bool] | None:
    """A PNG without its texts and colour profile, and whether one may be missed.

    None where it has none, or is no PNG.
    """
    if not content.startswith(PNG):
        return None
    kept, missed = [PNG], False
    for kind, chunk in _chunks(content):
        if kind not in TEXTS:
            kept.append(chunk)
        elif chunk[8:].startswith(TURNING):
            small = _unpacked(chunk) < LARGE
            missed |= not small
            if small:
                kept.append(chunk)
    found = b"".join(kept)
    return (found, missed) if len(found) < len(content) else None


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """(kind, all bytes) of each chunk, the last one as far as it is there."""
    at = len(PNG)
    while at + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        yield kind, content[at : at + 12 + size]
        at += 12 + size


def _unpacked(chunk: bytes) -> int:
    """Bytes of a text, unpacked; never more than a little over LARGE are."""
    _, _, rest = chunk[8:].partition(b"\0")
    if chunk[4:8] == b"zTXt":
        rest = rest[1:]
    elif chunk[4:8] == b"iTXt" and rest[:1] == b"\1":  # behind two more texts
        rest = rest[2:].split(b"\0", 2)[-1]
    else:
        return len(chunk)
    try:
        return len(zlib.decompressobj().decompress(rest, LARGE + 1))
    except zlib.error:
        return len(chunk)


def ended(content: bytes) -> tuple[bytes, bytes] | None:
    """A JPEG that lacks its end with two endings; none where that cannot help.

    What the rows depend on is in the file if both give the same pixels: one ending
    makes a decoder go on with zeros, the other with noise.  A progressive JPEG also
    needs every scan to have begun.
    """
    cut = content.rstrip(b"\xff")
    if not content.startswith(JPEG) or content.rstrip(b"\0").endswith(END):
        return None
    if not _all_scans(content):
        return None
    # Its first bit is not a zero, so that one lost bit is seen too.
    noise = bytes((k * k * 89 + 37 * k + 170) % 251 for k in range(FILLING))
    return cut + END, cut + noise + END


def _all_scans(content: bytes) -> bool:
    """Whether every coefficient of every component comes to its last bit in a scan."""
    left: dict[int, list[int]] = {}  # component -> bits still missing, of each of 64
    at = 2
    while found := FILLED.match(content, at):
        marker = content[found.end() : found.end() + 1]
        at = found.end() + 1
        if not marker or marker[0] in BARE:
            continue
        body = content[at + 2 : at + int.from_bytes(content[at : at + 2], "big")]
        if marker[0] in FRAMES and len(body) > 6:
            left = {c: [16] * COEFFICIENTS for c in body[6 : 6 + 3 * body[5] : 3]}
        at += 2 + len(body)
        if marker[0] == SCAN and body:
            n = body[0]
            if len(body) < 4 + 2 * n:
                return False
            first, last, bits = body[1 + 2 * n : 4 + 2 * n]
            for component in body[1 : 1 + 2 * n : 2]:
                for k in range(first, min(last, COEFFICIENTS - 1) + 1):
                    left.setdefault(component, [16] * COEFFICIENTS)[k] = bits & 15
            end = NEXT.search(content, at)
            at = end.start() if end else len(content)
    return bool(left) and not any(any(bits) for bits in left.values())
