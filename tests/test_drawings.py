"""Contact sheets and other pictures: what is on them is true, and can be read."""

import warnings

import matplotlib.figure
import numpy as np
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from PIL import Image

from common.report import drawings, fonts
from common.report.drawings import MIXED, RIGHT, WRONG, Cell, Sheets
from common.report.fonts import NOTE, spelt, writing

CJK = "苹果"
LONE = "\u2312"  # STIXGeneral has it, which comes with Matplotlib; DejaVu Sans has not


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is saved."""
    found = []
    save = matplotlib.figure.Figure.savefig

    def kept(figure, *args, **options):
        found.append(figure)
        return save(figure, *args, **options)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", kept)
    return found


def cells(n, *, truth=None, label="cat"):
    thumb = np.zeros((drawings.THUMB, drawings.THUMB, 3), np.uint8)
    lines = (("torch", label, 0.9), ("tensorflow", "dog", None))
    return [Cell(thumb, f"{k}.png", lines, truth=truth) for k in range(n)]


def texts(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


@pytest.mark.parametrize(
    ("n", "shape"), [(1, (1, 1)), (3, (1, 3)), (4, (1, 4)), (5, (2, 3)), (6, (2, 3))]
)
def test_a_sheet_is_as_large_as_its_photos_need(n, shape, drawn, tmp_path):
    drawings.save_sheet(cells(n), "a title", tmp_path / "sheet.png")
    (figure,) = drawn
    boxes = [place.get_position() for place in figure.axes]
    assert len(boxes) == n
    rows = {round(box.y0, 3) for box in boxes}
    columns = {round(box.x0, 3) for box in boxes}
    assert (len(rows), len(columns)) == shape
    with Image.open(tmp_path / "sheet.png") as picture:
        pixels = np.asarray(picture.convert("L"))
    dark = np.argwhere(pixels < 128)
    used = (dark.max(axis=0) - dark.min(axis=0)) / pixels.shape
    assert used.min() > (0.3 if n == 1 else 0.6)  # one photo in a row for five: 0.2


@pytest.mark.parametrize(
    ("truth", "colour", "marks"),
    [
        ("cat", MIXED, ["✓ torch: cat 90%", "✗ tensorflow: dog"]),
        ("bird", WRONG, ["✗ torch: cat 90%", "✗ tensorflow: dog"]),
        (None, None, ["torch: cat 90%", "tensorflow: dog"]),
    ],
)
def test_right_and_wrong_are_marked_with_the_true_class(
    truth, colour, marks, drawn, tmp_path
):
    drawings.save_sheet(cells(1, truth=truth), "", tmp_path / "sheet.png")
    said = texts(drawn[0])
    assert [line for line in said if "torch" in line or "tensorflow" in line] == marks
    assert (f"is: {truth}" in said) == (truth is not None)
    frames = [p for place in drawn[0].axes for p in place.patches]
    found = [matplotlib.colors.to_hex(p.get_edgecolor()) for p in frames]
    assert found == ([colour] if colour else [])
    assert all(isinstance(frame, Rectangle) for frame in frames)


def test_a_photo_that_all_call_right_is_framed_so(drawn, tmp_path):
    one = cells(1, truth="dog", label="dog")
    drawings.save_sheet(one, "", tmp_path / "sheet.png")
    (frame,) = drawn[0].axes[0].patches
    assert matplotlib.colors.to_hex(frame.get_edgecolor()) == RIGHT


def test_what_the_network_saw_stands_beside_the_photo_with_a_caption(drawn, tmp_path):
    Image.new("RGB", (60, 30), (200, 0, 0)).save(tmp_path / "a.png")
    seen = np.zeros((8, 4, 1), np.uint8)
    answers = {"torch": {"top": [{"label": "cat", "probability": 0.5}]}}
    one = drawings.cell(tmp_path / "a.png", answers, seen=seen)
    h, w, _ = one.thumb.shape
    assert w == 2 * h + drawings.GAP
    assert tuple(one.thumb[h // 2, 5]) == (200, 0, 0)
    assert tuple(one.thumb[h // 2, w - h // 2]) == (0, 0, 0)
    assert tuple(one.thumb[h // 2, w - 5]) == (255, 255, 255)  # 8 x 4 keeps its shape
    drawings.save_sheet([one], "", tmp_path / "sheet.png")
    assert "the photo | as the network saw it, 4 x 8" in texts(drawn[0])
    drawings.save_seen(tmp_path / "a.png", seen, tmp_path / "seen.png")
    with Image.open(tmp_path / "seen.png") as picture:
        below = np.asarray(picture.convert("L"))[-drawings.CAPTION :]
    assert (below < 200).any()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cat.png", "0003-cat-seen.png"),
        ("cat.tar.jpg", "0003-cat.tar-seen.png"),
        ("猫 1.jpeg", "0003-_1-seen.png"),
        ("noending", "0003-noending-seen.png"),
    ],
)
def test_a_files_name_has_one_suffix(tmp_path, name, expected):
    assert drawings.seen_name(3, tmp_path / name) == expected


def test_pages_of_a_sheet_are_numbered(tmp_path):
    sheets = Sheets(tmp_path, "t", name="worst")
    page = drawings.COLUMNS * drawings.ROWS
    files = [path.name for path in sheets.written(cells(page + 1))]
    assert files == ["worst-1.png", "worst-2.png"]


def test_the_two_axes_of_the_confusion_row_share_their_scale(drawn, tmp_path):
    counts = {"before": {"torch": [1, 0]}, "after": {"torch": [0, 40, 3]}}
    drawings.save_row(["a", "b", "c"], counts, "t", tmp_path / "row.png")
    first, second = drawn[0].axes
    assert first.get_ylim() == second.get_ylim()
    assert first.get_ylim()[1] >= 40


# --- any text -------------------------------------------------------------------------

NAMES = [
    CJK,
    "りんご",
    "사과",
    "$x$ and $y$",
    "a_b^c",
    "яблоко",
    "😀",
    "a\u202eb",
    "\ud800",
]


def draw_all(folder):
    drawings.save_row(NAMES, {"before": {"torch": [1]}}, CJK, folder / "row.png")
    drawings.save_sheet(cells(2, truth=CJK, label=CJK), CJK, folder / "sheet.png")
    matrix = np.eye(len(NAMES), dtype=int)
    drawings.save_confusions({"torch": matrix}, NAMES, CJK, folder / "confusions.png")
    drawings.save_bars(NAMES, {"torch": [1.0]}, CJK, "%", folder / "bars.png")
    epochs = [{"epoch": 1, "train_loss": None, "loss": None, "accuracy": None}]
    drawings.save_curves({"torch": epochs}, CJK, folder / "curves.png")


def test_names_in_any_script_are_drawn_without_a_warning(tmp_path, caplog):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_all(tmp_path)
    assert not caplog.records
    assert len(list(tmp_path.iterdir())) == 5


def test_what_no_font_has_is_spelt_and_the_picture_says_so(
    drawn, tmp_path, monkeypatch
):
    monkeypatch.setattr(fonts, "_family_with", lambda sign: None)
    draw_all(tmp_path)
    for figure in drawn:
        said = " ".join(texts(figure))
        assert "[U+82F9 U+679C]" in said
        assert NOTE in " ".join(said.split())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("苹果", "[U+82F9 U+679C]"),
        ("사과 1", "[sa gwa] 1"),
        ("りんご", "[ri n go]"),
        ("😀", "[grinning face]"),
        ("cat", "cat"),
        ("a\u202eb", "a?b"),
    ],
)
def test_a_sign_that_is_lost_can_still_be_told_from_others(text, expected):
    lost = frozenset(sign for sign in text if ord(sign) > 0x2FFF)
    assert spelt(text, lost) == expected


def test_a_font_that_has_a_sign_is_used_where_the_first_has_not():
    with writing([f"a{LONE}b"]) as (spell, note):
        families = matplotlib.rcParams["font.family"]
        assert (spell(f"a{LONE}b"), note) == (f"a{LONE}b", "")
    assert families[0] == "DejaVu Sans"
    assert len(families) == 2
    assert matplotlib.rcParams["font.family"] != families
