"""From a file to pixels: every mode and orientation by hand, and files that lie."""

import faulthandler
import os
import random
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from common.data import DataRequest, open_data
from common.errors import Refused
from common.photos.decode import (
    CUT,
    MAX_BYTES,
    MAX_PIXELS,
    BadPicture,
    Framing,
    parse_colour,
    printable,
    read,
)

AS_IS = Framing()
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
BACK = (10, 20, 30)
# A JPEG's own rounding of smooth pictures, in steps of 255.
JPEG_ERROR = 3
MUTANTS = 2000
# Seconds for all mutants together, of which two are needed: a decoder that never ends
# holds Python's lock, so that only a watchdog can say where; nothing is measured.
HANG = 600.0
SLOW = 1.0  # seconds of the processor that no small file may take
# Pixels that a JPEG of 12 million may be decoded to for 24 x 32.
DRAFTED = 12_000_000 // 16
ROOT = Path(__file__).parents[1]


@pytest.fixture
def decoded(monkeypatch):
    """The pixels of each picture that Pillow is asked to decode, in order."""
    found = []

    def load(self, own=ImageFile.ImageFile.load):
        found.append(self.size[0] * self.size[1])
        return own(self)

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    return found


def encoded(picture, kind="PNG", **options):
    """The bytes of a picture file."""
    file = BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def corners():
    """2 x 3 pixels, all different: rows RGB, then white, black, grey."""
    rows = [[RED, GREEN, BLUE], [WHITE, (0, 0, 0), (128, 128, 128)]]
    return np.array(rows, np.uint8)


def smooth(h=24, w=32):
    y, x = np.mgrid[:h, :w]
    return np.stack([x * 7, y * 9, (x + y) * 4], -1).astype(np.uint8)


# --- modes, by hand ---------------------------------------------------------------


def test_rgb_comes_as_it_is_from_a_path_bytes_and_an_open_file(tmp_path):
    content = encoded(Image.fromarray(corners()))
    path = tmp_path / "a.png"
    path.write_bytes(content)
    for source in (path, str(path), content, BytesIO(content)):
        found = read(source, AS_IS)
        assert np.array_equal(found.pixels, corners())
        assert (found.size, found.notes) == ((2, 3), ())
        assert found.pixels.dtype == np.uint8
        assert found.pixels.flags.c_contiguous


def test_grey_has_three_equal_channels():
    values = np.array([[0, 100, 255]], np.uint8)
    found = read(encoded(Image.fromarray(values)), AS_IS).pixels
    assert np.array_equal(found, np.repeat(values[..., None], 3, axis=2))


def test_one_bit_is_black_and_white():
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    assert read(encoded(bits), AS_IS).pixels[0, :, 0].tolist() == [0, 255]


def test_sixteen_bits_are_scaled_and_not_clipped():
    values = np.array([[0, 255, 256, 0x1234, 0xFFFF]], np.uint16)
    found = read(encoded(Image.fromarray(values)), AS_IS).pixels
    assert found[0, :, 0].tolist() == [0, 0, 1, 0x12, 255]


def test_sixteen_bits_of_the_other_byte_order_too():
    values = np.array([[0, 0x1234, 0xFFFF]], ">u2")
    picture = Image.frombytes("I;16B", (3, 1), values.tobytes())
    found = read(encoded(picture, "TIFF"), AS_IS).pixels
    assert found[0, :, 0].tolist() == [0, 0x12, 255]


def test_a_transparent_grey_of_sixteen_bits_is_filled():
    values = np.array([[0x1234, 0x1235, 0xFFFF]], np.uint16)
    content = encoded(Image.fromarray(values))
    chunk = b"tRNS" + struct.pack(">H", 0x1234)
    chunk = struct.pack(">I", 2) + chunk + struct.pack(">I", zlib.crc32(chunk))
    at = content.index(b"IDAT") - 4
    found = read(content[:at] + chunk + content[at:], Framing(colour=WHITE))
    assert found.pixels[0, :, 0].tolist() == [255, 0x12, 255]


def test_transparency_is_laid_on_the_colour_that_is_asked_for():
    values = np.array([[(*RED, 0), (*RED, 255), (200, 100, 0, 128)]], np.uint8)
    found = read(encoded(Image.fromarray(values)), Framing(colour=BACK))
    half = [
        round(v * 128 / 255 + b * 127 / 255)
        for v, b in zip((200, 100, 0), BACK, strict=True)
    ]
    assert found.pixels[0, :2].tolist() == [list(BACK), list(RED)]
    assert np.abs(found.pixels[0, 2].astype(int) - half).max() <= 1
    assert found.notes == ("transparent parts filled",)


def test_an_alpha_channel_that_hides_nothing_is_not_mentioned():
    values = np.dstack([corners(), np.full((2, 3), 255, np.uint8)])
    found = read(encoded(Image.fromarray(values)), AS_IS)
    assert (np.array_equal(found.pixels, corners()), found.notes) == (True, ())


def test_grey_with_alpha():
    values = np.array([[(200, 0), (200, 255)]], np.uint8)
    found = read(encoded(Image.fromarray(values, "LA")), Framing(colour=BACK)).pixels
    assert found[0].tolist() == [list(BACK), [200, 200, 200]]


@pytest.mark.parametrize("clear", [0, bytes([0, 255, 255])])
def test_a_palette_with_a_transparent_colour(clear):
    picture = Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    picture.putpalette([*RED, *GREEN, *BLUE])
    content = encoded(picture, transparency=clear)
    found = read(content, Framing(colour=BACK)).pixels
    assert found[0].tolist() == [list(BACK), list(GREEN), list(BLUE)]


def test_a_palette_is_resized_in_its_colours_and_not_in_its_numbers():
    picture = Image.fromarray(np.tile(np.uint8([[0, 1]]), (32, 16)), "P")
    picture.putpalette([*RED, *BLUE])
    found = read(encoded(picture), Framing(size=(4, 4), filter="box")).pixels
    assert np.abs(found.astype(int) - (128, 0, 128)).max() <= 1


def test_cmyk():
    inks = np.array([[(0, 0, 0, 0), (0, 0, 0, 255), (0, 255, 255, 0)]], np.uint8)
    picture = Image.fromarray(np.repeat(np.repeat(inks, 16, 0), 16, 1), "CMYK")
    found = read(encoded(picture, "JPEG", quality=100), AS_IS).pixels[8, 8::16]
    expected = np.array([WHITE, (0, 0, 0), RED])
    assert np.abs(found.astype(int) - expected).max() <= JPEG_ERROR


def test_numbers_without_a_known_range_are_refused():
    picture = Image.fromarray(np.array([[0.5, 2e9]], np.float32))
    with pytest.raises(BadPicture, match=r"mode F, whose range .* 8 or 16 bits"):
        read(encoded(picture, "TIFF"), AS_IS)


# --- orientation ------------------------------------------------------------------

UPRIGHT = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.swapaxes(a, 0, 1), 2),
    8: lambda a: np.rot90(a, 1),
    # Values that the standard does not have; FIDS30 has a zero.
    0: lambda a: a,
    9: lambda a: a,
    255: lambda a: a,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_the_stored_orientation_is_applied(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    content = encoded(Image.fromarray(corners()), kind, exif=exif, **lossless)
    found = read(content, AS_IS)
    expected = UPRIGHT[orientation](corners())
    assert np.array_equal(found.pixels, expected)
    assert found.size == expected.shape[:2]
    turned = orientation in range(2, 9)
    told = (f"turned upright (EXIF orientation {orientation})",) if turned else ()
    assert found.notes == told


# --- size -------------------------------------------------------------------------


def test_pad_keeps_all_and_centres_it_on_the_colour():
    picture = Image.new("RGB", (640, 480), RED)
    framing = Framing(size=(32, 32), how="pad", colour=BACK)
    found = read(encoded(picture), framing).pixels
    assert found.shape == (32, 32, 3)
    assert (found[4:28] == RED).all()
    assert (found[:4] == BACK).all()
    assert (found[28:] == BACK).all()


def test_pad_of_a_grey_picture_has_the_coloured_bars_it_was_asked_for():
    picture = Image.new("L", (640, 480), 200)
    found = read(encoded(picture), Framing(size=(32, 32), how="pad", colour=RED)).pixels
    assert found[0, 0].tolist() == list(RED)
    assert found[16, 16].tolist() == [200, 200, 200]


def test_fit_cuts_the_longer_side():
    values = np.zeros((48, 96, 3), np.uint8)
    values[:, 24:72] = GREEN
    found = read(
        encoded(Image.fromarray(values)), Framing(size=(16, 16), filter="box")
    ).pixels
    assert (found == GREEN).all()


def test_stretch_gives_up_proportions():
    values = np.zeros((16, 64, 3), np.uint8)
    values[:, 32:] = BLUE
    framing = Framing(size=(16, 16), how="stretch", filter="box")
    found = read(encoded(Image.fromarray(values)), framing).pixels
    assert (found[:, :8] == 0).all()
    assert (found[:, 8:] == BLUE).all()


def test_a_box_filter_averages():
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    framing = Framing(size=(4, 4), filter="box", channels=1)
    found = read(encoded(Image.fromarray(values)), framing).pixels[..., 0]
    means = values.reshape(4, 2, 4, 2).mean(axis=(1, 3))
    assert np.abs(found - means).max() <= 0.5


def test_one_channel_is_the_lightness():
    found = read(encoded(Image.fromarray(corners())), Framing(channels=1)).pixels
    assert found.shape == (2, 3, 1)
    assert found[0, :, 0].tolist() == [76, 150, 29]  # ITU-R 601


def test_a_large_jpeg_is_decoded_small_and_looks_the_same(decoded):
    large = Image.fromarray(smooth()).resize((4000, 3000), Image.Resampling.BICUBIC)
    framing = Framing(size=(24, 32))
    found = read(encoded(large, "JPEG", quality=95), framing)
    assert 24 * 32 <= max(decoded) <= DRAFTED
    exact = read(encoded(large, "PNG"), framing).pixels.astype(int)
    assert np.abs(found.pixels - exact).max() <= JPEG_ERROR
    assert found.size == (3000, 4000)


# --- what the owner may not expect -------------------------------------------------


def test_a_wrong_suffix_and_an_animation_are_said(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, BLUE)]
    path = tmp_path / "moving.jpg"
    frames[0].save(path, "GIF", save_all=True, append_images=frames[1:])
    found = read(path, AS_IS)
    assert (found.pixels == RED).all()
    assert found.notes == (
        "called .jpg, is GIF",
        "first frame of an animation",
        "one colour all over",
    )


@pytest.mark.parametrize(
    ("start", "says"),
    [
        (b"", "zero bytes"),
        (b"hello, I am text", "not a picture"),
        (b"<svg xmlns='x'></svg>", "SVG, which is not supported.*export it as PNG"),
        (b"<?xml version='1.0'?>\n<svg/>", "SVG, which is not supported"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIC, .*convert it to PNG or JPEG"),
        (b"\0\0\0\x18ftypavif\0\0\0\0", "AVIF, .*convert it to PNG or JPEG"),
        (b"%PDF-1.7", "PDF, which is not supported"),
        (b"<!DOCTYPE html><html>", "a web page"),
    ],
)
def test_what_is_no_photo_is_named(tmp_path, start, says):
    path = tmp_path / "a.png"
    path.write_bytes(start)
    with pytest.raises(BadPicture, match=says) as caught:
        read(path, AS_IS)
    assert str(caught.value).startswith("a photo must be")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_half_a_file_is_damaged(kind):
    content = encoded(Image.fromarray(smooth(200, 200)), kind)
    with pytest.raises(BadPicture, match=r"damaged|not a picture"):
        read(content[: len(content) // 2], AS_IS)


def test_a_picture_that_would_vanish_is_refused():
    content = encoded(Image.new("RGB", (1, 5000), RED))
    for how in ("pad", "fit", "stretch"):
        with pytest.raises(BadPicture, match="too narrow to be seen in 32 x 32"):
            read(content, Framing(size=(32, 32), how=how))
    assert read(content, AS_IS).pixels.shape == (5000, 1, 3)


def bomb(side):
    """A PNG of side x side black pixels in a few bytes, cut off."""
    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(body)) + kind + body
        + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    ]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("side", [8001, 10_000, 20_000])
def test_a_bomb_is_refused_before_it_is_decoded(side, decoded):
    read(encoded(Image.fromarray(corners())), AS_IS)
    assert set(decoded) == {6}  # what is decoded is seen
    decoded.clear()
    content = bomb(side)
    assert len(content) < 1000
    assert side * side > MAX_PIXELS
    with pytest.raises(BadPicture, match=r"(10,000|8,001) x|multiple of the 64,000"):
        read(content, AS_IS)
    assert not decoded


def test_too_many_bytes_are_refused_without_reading_them_all(tmp_path):
    path = tmp_path / "large.png"
    with path.open("wb") as file:
        file.truncate(4 * MAX_BYTES)
    tracemalloc.start()
    try:
        with pytest.raises(BadPicture, match="over 64 MiB"):
            read(path, AS_IS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.1 * MAX_BYTES


def test_special_files_are_refused_at_once(tmp_path):
    pipe, loop = tmp_path / "pipe", tmp_path / "loop"
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    for path, says in (
        (pipe, "no file of data but a pipe"),
        (loop, "symbolic links"),
        (tmp_path, "a folder"),
        (tmp_path / "none.png", "No such file"),
        ("a\0b", "null"),
    ):
        with pytest.raises(BadPicture, match=says) as caught:
            read(path, AS_IS)
        assert str(caught.value).count("a photo must be") == 1


def test_a_name_that_is_not_utf8_can_be_printed(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9\n.png")
    Image.fromarray(corners()).save(path)
    assert printable(path).endswith(r"caf\xe9\n.png")
    assert np.array_equal(read(path, AS_IS).pixels, corners())


def test_no_setting_of_pillow_is_changed(tmp_path):
    """Nor on import: in a process that has not imported ours yet."""
    (tmp_path / "bomb.png").write_bytes(bomb(20_000))
    (tmp_path / "good.png").write_bytes(encoded(Image.fromarray(corners())))
    code = (
        "import sys\n"
        "from PIL import Image, ImageFile\n"
        "def told(): return Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES\n"
        "before = told()\n"
        "from common.photos.decode import BadPicture, Framing, read\n"
        "print(read(sys.argv[1], Framing()).size, told() == before)\n"
        "try: read(sys.argv[2], Framing())\n"
        "except BadPicture: print('refused', told() == before, before[1])\n"
    )
    files = [str(tmp_path / name) for name in ("good.png", "bomb.png")]
    found = subprocess.run(
        [sys.executable, "-c", code, *files], cwd=ROOT, capture_output=True, text=True
    )
    said = ["(2, 3) True", "refused True False"]
    assert found.stdout.splitlines() == said, found.stderr


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"how": "squeeze"},
            "--how must be one of pad, fit, stretch, centre, got squeeze",
        ),
        ({"filter": "cubic"}, "--filter must be one of nearest"),
        ({"colour": (0, 0, 256)}, "three numbers 0 to 255"),
        ({"colour": (127,)}, "three numbers 0 to 255"),
        ({"size": (0, 32)}, "height and width in pixels"),
    ],
)
def test_a_framing_that_makes_no_sense_is_refused(values, says):
    with pytest.raises(Refused, match=says):
        Framing(**values)


def test_colours_have_names_and_numbers():
    assert parse_colour("white") == WHITE
    assert parse_colour("#7d7b72") == (125, 123, 114)
    with pytest.raises(Refused, match="got mauvish"):
        parse_colour("mauvish")


def test_an_image_folder_is_decoded_by_the_same_function(tmp_path):
    for name, colour in (("a", RED), ("b", BLUE)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for k in range(2):
            picture = Image.new("RGBA", (64, 48), (*colour, 255))
            picture.putpixel((5 + k, 5), (0, 0, 0, 0))
            picture.save(tmp_path / "set" / name / f"{k}.png")
    request = DataRequest(source=str(tmp_path / "set"), size=(32, 32))
    data = open_data(request, cache=tmp_path / "cache")
    framing = Framing(size=(32, 32), how="pad")
    expected = [
        read(path, framing).pixels for path in sorted((tmp_path / "set").rglob("*.png"))
    ]
    both = np.concatenate([data.train.take(slice(None)), data.test.take(slice(None))])
    assert len(expected) == 4
    assert sorted(p.tobytes() for p in both) == sorted(p.tobytes() for p in expected)


# --- whole pixels in files that were refused -----------------------------------------


def with_chunk(content, kind, body):
    """A PNG with one more chunk before its pixels."""
    chunk = kind + body
    chunk = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    at = content.index(b"IDAT") - 4
    return content[:at] + chunk + content[at:]


TEXT = random.Random(0).randbytes(64) * 47_000  # 3 MB that pack well
PROFILE = random.Random(1).randbytes(1_500_000)
XMP = b"XML:com.adobe.xmp\0"


@pytest.mark.parametrize(
    ("kind", "body", "note"),
    [
        (b"zTXt", b"Comment\0\0" + zlib.compress(TEXT), ()),
        (b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(TEXT), ()),
        (b"tEXt", b"Comment\0" + b"x" * 3_000_000, ()),
        (b"iCCP", b"large\0\0" + zlib.compress(PROFILE), ()),
        (b"iTXt", XMP + b"\1\0\0\0" + zlib.compress(TEXT), ("a text of over 1 MiB",)),
    ],
)
def test_a_png_with_a_large_text_or_profile_is_opened(kind, body, note):
    content = with_chunk(encoded(Image.fromarray(corners())), kind, body)
    found = read(content, AS_IS)
    assert np.array_equal(found.pixels, corners())
    assert tuple(said[:20] for said in found.notes) == note


def test_a_small_text_that_turns_a_photo_still_does_beside_a_large_one():
    xmp = b'<x tiff:Orientation="6"/>'
    content = with_chunk(encoded(Image.fromarray(corners())), b"zTXt", b"C\0\0x")
    content = with_chunk(content, b"iTXt", XMP + b"\0\0\0\0" + xmp)
    content = with_chunk(content, b"zTXt", b"Comment\0\0" + zlib.compress(TEXT))
    assert np.array_equal(read(content, AS_IS).pixels, np.rot90(corners(), -1))


def netpbm(kind, values, top=None, comment=b"# by hand\n"):
    """A PBM, PGM or PPM; `kind` 1 to 6."""
    h, w = values.shape[:2]
    head = b"P%d\n%s%d %d\n" % (kind, comment, w, h)
    head += b"" if top is None else b"%d\n" % top
    if kind < 4:
        return head + b" ".join(b"%d" % v for v in values.ravel()) + b"\n"
    if kind == 4:
        return head + np.packbits(values.astype(bool), axis=1).tobytes()
    return head + values.astype("u1" if top < 256 else ">u2").tobytes()


GREYS = np.array([[0, 1, 4], [9, 10, 15]])


@pytest.mark.parametrize("kind", [2, 5])
@pytest.mark.parametrize("top", [15, 255, 1023, 4095, 65535])
def test_a_pgm_has_the_range_that_it_says(kind, top):
    values = np.array([[0, 1, top // 2], [top // 3, top - 1, top]])
    found = read(netpbm(kind, values, top), Framing(channels=None))
    assert np.array_equal(found.pixels[..., 0], np.floor(values * 255 / top + 0.5))
    assert found.notes == ()


@pytest.mark.parametrize("kind", [3, 6])
def test_a_ppm_has_colours(kind, tmp_path):
    path = tmp_path / "a.ppm"
    path.write_bytes(netpbm(kind, corners(), 255))
    found = read(path, AS_IS)
    assert (np.array_equal(found.pixels, corners()), found.notes) == (True, ())


@pytest.mark.parametrize("kind", [1, 4])
def test_a_pbm_is_black_where_it_has_ones(kind):
    values = (GREYS > 4).astype(int)
    found = read(netpbm(kind, values), Framing(channels=None))
    assert np.array_equal(found.pixels[..., 0], 255 * (1 - values))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"P5\n9000 9000\n255\n", "81,000,000 pixels|9,000 x 9,000"),
        (netpbm(5, GREYS, 15)[:-1], "not as many pixels"),
        (netpbm(2, GREYS, 15)[:-3], "not as many pixels"),
        (netpbm(2, GREYS, 9), "values above 9"),
        (b"P2 2 1 9\n3 x", "no numbers"),
        (b"P2 2 1 70000\n1 2", "a brightest value of 70000"),
        (b"P5 0 3 255\n", "no pixels|too narrow"),
        (b"P3 is how the letter begins", "not a picture"),
    ],
)
def test_a_netpbm_that_is_not_whole_says_why(content, says):
    with pytest.raises(BadPicture, match=says):
        read(content, AS_IS)


@pytest.mark.usefixtures("watchdog")
def test_comments_and_digits_without_end_take_no_time():
    """Pillow's reader of plain files takes minutes for these few megabytes."""
    for body in (b"#\n" * 2_000_000, b"1" * 4_000_000, b" " * 4_000_000):
        with pytest.raises(BadPicture):
            read(b"P2 9 9 255\n" + body, AS_IS)


def bitmap(pixels, masks, bits, *, header=40, kind=3):
    """A BMP with bit fields, bottom row first; `pixels` (h, w, 3), 0 to 255."""
    h, w = pixels.shape[:2]
    values = np.zeros((h, w), np.uint64)
    for channel, mask in enumerate(masks[:3]):
        low = (mask & -mask).bit_length() - 1
        top = mask >> low
        values |= (pixels[..., channel].astype(np.uint64) * top // 255) << np.uint64(
            low
        )
    rows = [row.astype(f"<u{bits // 8}").tobytes() for row in values[::-1]]
    body = b"".join(row + bytes(-len(row) % 4) for row in rows)
    fields = struct.pack("<4I", *masks)
    extra = fields if header >= 56 or kind == 6 else fields[:12]
    after = bytes(max(0, header - 40 - len(extra)))
    start = 14 + 40 + len(extra) + len(after)
    info = struct.pack("<IiiHHIIiiII", header, w, h, 1, bits, kind, 0, 0, 0, 0, 0)
    head = b"BM" + struct.pack("<IHHI", start + len(body), 0, 0, start)
    return head + info + extra + after + body


@pytest.mark.parametrize(
    ("bits", "masks", "header", "kind"),
    [
        (16, (0xF800, 0x7E0, 0x1F, 0), 40, 3),
        (16, (0x7C00, 0x3E0, 0x1F, 0x8000), 56, 3),
        (16, (0xF00, 0xF0, 0xF, 0xF000), 108, 3),
        (16, (0x1F, 0x7E0, 0xF800, 0), 40, 3),
        (16, (0xF00, 0xF0, 0xF, 0xF000), 40, 6),
        (32, (0xFF0000, 0xFF00, 0xFF, 0), 40, 3),
        (32, (0xFF, 0xFF00, 0xFF0000, 0), 40, 3),
        (32, (0x3FF00000, 0xFFC00, 0x3FF, 0xC0000000), 124, 3),
        (32, (0xFF0000, 0xFF00, 0xFF, 0xFF000000), 124, 3),
    ],
)
def test_a_bmp_with_bit_fields_is_opened(bits, masks, header, kind):
    """An alpha that nobody filled, all zeros, hides nothing."""
    found = read(bitmap(corners(), masks, bits, header=header, kind=kind), AS_IS)
    step = 255 / (min(bin(mask).count("1") for mask in masks[:3]) ** 2 - 1)
    assert np.abs(found.pixels.astype(int) - corners()).max() <= step
    assert found.notes in ((), ("its empty transparency is not used",))


def test_bit_fields_with_holes_or_without_pixels_are_damaged():
    whole = bitmap(corners(), (0xF00, 0xF0, 0xF, 0xF000), 16, header=108)
    holes = bitmap(corners(), (0xF500, 0xF0, 0xF, 0), 16)
    for content, says in ((whole[:-1], "not as many"), (holes, "with holes")):
        with pytest.raises(BadPicture, match=says):
            read(content, AS_IS)


# --- the end of a JPEG ---------------------------------------------------------------

NOISE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
)
JPEGS = {
    "plain": {},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_rows": 1},
    "quartered": {"subsampling": 0, "quality": 97},
}


def told_of(content):
    """The refusal of a file."""
    with pytest.raises(BadPicture) as refusal:
        read(content, AS_IS)
    return str(refusal.value)


@pytest.mark.parametrize("how", JPEGS)
@pytest.mark.parametrize("grey", [False, True])
def test_a_jpeg_without_its_end_is_opened_if_every_row_is_there(how, grey):
    picture = NOISE.convert("L") if grey else NOISE
    content = encoded(picture, "JPEG", **JPEGS[how])
    whole = read(content, AS_IS)
    for cut in (1, 2):
        found = read(content[:-cut], AS_IS)
        assert np.array_equal(found.pixels, whole.pixels)
        assert found.notes == (CUT,)
    for cut in (3, 4, 5, 8, 16, 40, 200, len(content) // 2):
        said = told_of(content[:-cut])
        assert "its end is missing, and rows with it" in said or cut > 16


def test_a_row_that_is_missing_is_seen_at_any_size():
    """In a small copy of a large photo one row changes nothing."""
    large = NOISE.resize((700, 500))
    content = encoded(large, "JPEG")[:-300]
    with pytest.raises(BadPicture, match="and rows with it"):
        read(content, Framing(size=(8, 8)))


def test_a_jpeg_of_108_megapixels_is_drafted_like_other_large_ones(decoded):
    """What counts is what is decoded; without a size to fit into that is all of it."""
    content = encoded(Image.new("L", (12_000, 9_000), 90), "JPEG")
    found = read(content, Framing(size=(224, 224)))
    assert found.size == (9_000, 12_000)
    assert (found.pixels == 90).all()
    assert max(decoded) <= 12_000 * 9_000 // 64 + 12_000
    decoded.clear()
    with pytest.raises(
        BadPicture, match=r"108,000,000|12,000 x 9,000.*or name the size"
    ):
        read(content, AS_IS)
    assert not decoded


@pytest.mark.parametrize(("side", "limit"), [(12_000, "128,000,000"), (16_100, "256,")])
def test_there_is_a_largest_jpeg(side, limit, decoded):
    """A header is enough: nothing is decoded."""
    progressive = limit.startswith("128")
    content = bytearray(encoded(NOISE, "JPEG", progressive=progressive))
    at = content.index(b"\xff\xc2" if progressive else b"\xff\xc0")
    content[at + 5 : at + 9] = struct.pack(">HH", side, side)
    with pytest.raises(BadPicture, match=f"of at most {limit}"):
        read(bytes(content), Framing(size=(32, 32)))
    assert not decoded


# --- greys of 16 bits that have fewer -------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize(
    ("top", "depth"), [(200, 8), (1023, 10), (2500, 12), (4095, 12), (16383, 14)]
)
def test_fewer_bits_than_16_are_scaled_and_said(kind, top, depth):
    values = np.linspace(0, top, 12).astype(np.uint16).reshape(3, 4)
    found = read(encoded(Image.fromarray(values), kind), Framing(channels=None))
    assert np.array_equal(found.pixels[..., 0], values >> (depth - 8))
    assert found.depth == depth
    (note,) = found.notes
    assert f"up to {top:,} of 65,535: taken as {depth} bits" in note


def test_a_black_picture_of_16_bits_is_not_remarked_on():
    found = read(encoded(Image.fromarray(np.zeros((2, 3), np.uint16))), AS_IS)
    assert found.notes == ("one colour all over",)


def test_a_range_that_is_asked_for_is_a_least_one():
    values = np.array([[0, 900]], np.uint16)
    content = encoded(Image.fromarray(values))
    found = read(content, Framing(channels=None, depth=14))
    assert (found.pixels.max(), found.depth, found.notes) == (900 >> 6, 14, ())


def deep_colours(top):
    """A PNG of 16-bit colours, which Pillow cannot write."""
    rows = np.full((2, 3, 3), top, ">u2")
    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    head = struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0)
    content = encoded(Image.fromarray(corners()))[:8]
    for kind, body in ((b"IHDR", head), (b"IDAT", packed), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(kind + body))
        content += struct.pack(">I", len(body)) + kind + body + crc
    return content


def test_colours_of_16_bits_that_are_almost_black_are_said():
    notes = read(deep_colours(4095), AS_IS).notes
    assert notes[0].startswith("colours of 16 bits, the brightest 15 of 255: dark, or")
    assert read(deep_colours(60000), AS_IS).notes == ("one colour all over",)


# --- files that are something else ----------------------------------------------------


def tiff_raw(*tags):
    """A TIFF with a thumbnail's directory and these further tags (tag, value)."""
    thumb = encoded(Image.fromarray(corners()), "TIFF")
    (start,) = struct.unpack_from("<I", thumb, 4)
    (n,) = struct.unpack_from("<H", thumb, start)
    own = thumb[start + 2 : start + 2 + 12 * n]
    more = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    at = len(thumb)
    head = thumb[:4] + struct.pack("<I", at) + thumb[8:]
    return head + struct.pack("<H", n + len(tags)) + own + more + bytes(4)


SUB, REDUCED, DNG = (0x14A, 8), (0xFE, 1), (0xC612, 0x401)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.dng", tiff_raw(REDUCED, SUB, DNG), "a camera's raw file .DNG"),
        ("a.tif", tiff_raw(DNG), "a camera's raw file .DNG"),
        ("a.nef", tiff_raw(REDUCED, SUB), "raw file .Nikon NEF.*export it as JPEG"),
        ("a.jpg", tiff_raw(REDUCED, SUB), "raw file .of a kind that is TIFF inside"),
        ("a.ARW", tiff_raw(), "raw file .Sony ARW"),
        ("a.cr2", b"II*\0\x10\0\0\0CR\2\0" + bytes(64), "raw file .Canon CR2"),
        ("a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1", "raw file .Canon CR3"),
        ("a.raf", b"FUJIFILMCCD-RAW 0201", "raw file .Fujifilm RAF"),
        ("a.orf", b"IIRO\x08\0\0\0", "raw file .Olympus ORF"),
        ("a.rw2", b"IIU\0\x18\0\0\0", "raw file .Panasonic RW2"),
        (
            "a.png",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 3\n",
            "a Git LFS pointer, not the picture itself.*git lfs pull",
        ),
        ("a.jpg", b"PK\x03\x04" + bytes(40), "an archive.*unpack it"),
        ("a.jpg", b"\0\0\0\x18ftypmp42" + bytes(40), "a video or another"),
        ("a.dcm", bytes(128) + b"DICM" + bytes(40), "DICOM, which is not supported"),
    ],
)
def test_a_raw_file_or_a_pointer_is_named_as_what_it_is(name, content, says):
    with pytest.raises(BadPicture, match=says):
        read(content, AS_IS, name=name)


def test_a_tiff_of_several_sizes_is_no_raw_file():
    found = read(tiff_raw(SUB), AS_IS, name="pyramid.tif")
    assert np.array_equal(found.pixels, corners())


# --- mutated files ----------------------------------------------------------------


def seeds():
    """Whole files of every format and some odd modes."""
    picture = Image.fromarray(smooth(60, 80))
    exif = Image.Exif()
    exif[0x0112] = 6
    frames = [Image.new("P", (40, 30), k) for k in (1, 2)]
    for frame in frames:
        frame.putpalette([0, 0, 0, *RED, *GREEN])
    moving = BytesIO()
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    ramp = np.arange(2400, dtype=np.uint16).reshape(40, 60) * 27
    return [
        encoded(picture, "JPEG", exif=exif),
        encoded(picture, "JPEG", progressive=True),
        encoded(picture.convert("CMYK"), "JPEG"),
        encoded(picture, "PNG"),
        encoded(picture.convert("P"), "PNG", transparency=3),
        encoded(Image.fromarray(ramp), "PNG"),
        encoded(picture, "GIF"),
        moving.getvalue(),
        encoded(picture, "WEBP"),
        encoded(picture, "WEBP", lossless=True),
        encoded(picture, "BMP"),
        encoded(picture, "TIFF"),
        encoded(picture, "TIFF", compression="tiff_lzw"),
        encoded(picture, "TIFF", compression="jpeg"),
        encoded(Image.fromarray(ramp // 16), "TIFF"),
        with_chunk(encoded(picture), b"zTXt", b"C\0\0" + zlib.compress(TEXT)),
        bitmap(smooth(60, 80), (0xF00, 0xF0, 0xF, 0xF000), 16, header=108),
        *(netpbm(kind, smooth(30, 40), 255) for kind in (3, 6)),
        *(netpbm(kind, ramp, 65535) for kind in (2, 5)),
        *(netpbm(kind, ramp % 2) for kind in (1, 4)),
        tiff_raw(REDUCED, SUB),
    ]


def mutated(rng, files):
    """A file with bits flipped, cut, spliced with another, or a piece repeated."""
    content = bytearray(rng.choice(files))
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.choice((1, 1, 2, 8, 64))):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del content[rng.randrange(len(content)) :]
    elif kind == 2:
        other = rng.choice(files)
        content[rng.randrange(len(content)) :] = other[rng.randrange(len(other)) :]
    else:
        start = rng.randrange(len(content))
        piece = content[start : start + rng.randrange(1, 200)]
        at = rng.randrange(len(content))
        content[at:at] = piece
    return bytes(content)


@pytest.fixture
def watchdog():
    """Ends the process where it hangs, with the place, after `HANG` seconds."""
    faulthandler.dump_traceback_later(HANG, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.mark.usefixtures("watchdog")
def test_mutated_files_give_a_picture_or_one_line(decoded):
    """And no more than the pixels that are allowed are ever decoded."""
    rng = random.Random(7)
    files = seeds()
    framing = Framing(size=(32, 32), how="pad", colour=BACK)
    pictures, said = 0, []
    for k in range(MUTANTS):
        content = mutated(rng, files)
        start = time.process_time()
        try:
            found = read(content, framing)
        except BadPicture as error:
            said.append(str(error))
        else:
            pictures += 1
            assert found.pixels.shape == (32, 32, 3), k
            blank = (found.pixels == found.pixels[0, 0]).all()
            assert blank == ("one colour all over" in found.notes), k
        assert time.process_time() - start < SLOW, k
    assert not [line for line in said if "\n" in line]
    assert all(line.startswith("a photo must be") for line in said)
    assert max(decoded) <= MAX_PIXELS
    # Both happen often, else the mutations test nothing.
    assert min(pictures, len(said)) > MUTANTS // 10
