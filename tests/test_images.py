"""From a file to pixels: every mode and orientation by hand, and files that lie."""

import faulthandler
import os
import random
import struct
import subprocess
import sys
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
        try:
            found = read(content, framing)
        except BadPicture as error:
            said.append(str(error))
        else:
            pictures += 1
            assert found.pixels.shape == (32, 32, 3), k
            blank = (found.pixels == found.pixels[0, 0]).all()
            assert blank == ("one colour all over" in found.notes), k
    assert not [line for line in said if "\n" in line]
    assert all(line.startswith("a photo must be") for line in said)
    assert max(decoded) <= MAX_PIXELS
    # Both happen often, else the mutations test nothing.
    assert min(pictures, len(said)) > MUTANTS // 10
