"""The report is one page that asks for nothing, hides nothing and agrees with table."""

import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from benchmarks.report import report
from common import record, stats
from common import report as tables
from common.data import DataRequest, open_data
from common.errors import Refused
from common.report.page import svg
from common.report.page.answers import Answers, expected_error
from common.report.page.sections import FULL
from common.report.page.source import FILES, twins
from common.results import Store
from tests.stored import add

LARGEST = 5e6  # bytes of a page of 200 runs
EMPTY = {"meta", "link", "img", "br", "rect", "line", "circle", "polyline", "polygon"}
EVIL = "</script><img src=x onerror=alert(1)>&\"'"


class Page(HTMLParser):
    """What a page asks for, its texts, and whether its tags fit."""

    def __init__(self, text):
        super().__init__()
        self.open, self.asked, self.texts, self.tags = [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.asked += [v for k, v in attrs if k in ("src", "href", "data", "action")]
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in EMPTY:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def digits():
    return open_data(DataRequest(source="digits"))


@pytest.fixture
def store(tmp_path, digits):
    """Two settings in two tracks, three seeds each, on the real digits."""
    made = Store(tmp_path / "runs")
    about = {"labels": digits.test.labels, "fingerprint": digits.fingerprint}
    about["classes"] = digits.classes
    for seed in range(3):
        for k, track in enumerate(("torch", "tensorflow")):
            add(made, seed, wrong=20 + k, track=track, **about)
            add(made, seed, wrong=90 * k, track=track, lr=0.01, **about)
    return made


def written(store, tmp_path, **options):
    path = tmp_path / "page.html"
    report(store=store.path, output=path, **options)
    return path.read_text()


def test_a_page_asks_for_nothing_and_its_tags_fit(store, tmp_path):
    text = written(store, tmp_path)
    page = Page(text)
    assert all(a.startswith(("#", "data:image/png;base64,")) for a in page.asked)
    assert not re.search(r"@import|url\(|https?://", text)
    assert [t for t in page.tags if t[0] == "script"] == [("script", {})]


def test_what_came_out_comes_first(store, tmp_path):
    text = " ".join(Page(written(store, tmp_path)).texts)
    lead = text.index("Of 2 comparisons")
    assert lead < text.index("What came out") < text.index("Every comparison")
    for word in ("a difference", "not decided yet", "95 % intervals"):
        assert word in text


def test_a_page_and_a_table_agree_in_every_figure(store, tmp_path):
    text = " ".join(Page(written(store, tmp_path)).texts)
    for row in tables.summarise(store.runs())["systems"]:
        assert row["sentence"] in text
        low, high = (f"{100 * row['difference'][k]:.2f}" for k in ("low", "high"))
        assert f"[{low} to {high}]" in text
        for track in row["tracks"].values():
            assert f"{100 * track['accuracy']['mean']:.2f}" in text


def test_modes_are_never_in_one_table(store, tmp_path, digits):
    for track in ("torch", "tensorflow"):
        for seed in range(3):
            add(store, seed, wrong=9, track=track, mode="native")
    text = written(store, tmp_path)
    tables_ = re.findall(r'<table class="rows">.*?</table>', text, re.S)
    assert len(tables_) == 2
    for one in tables_:
        assert len(set(re.findall(r'data-mode="(\w+)"', one))) == 1
    for one in re.findall(r"Differences at a glance, mode (\w+)", text):
        assert one in ("aligned", "native")
    assert text.count("Differences at a glance") == 2


def test_pictures_are_shown_where_they_are_at_hand(store, tmp_path):
    page = Page(written(store, tmp_path))
    pictures = [a for tag, a in page.tags if tag == "img"]
    assert pictures
    assert all(a["alt"].startswith("test picture") for a in pictures)
    text = " ".join(page.texts)
    assert "Pictures on which the tracks disagree" in text
    assert "Pictures that all tracks get wrong alike" in text


def test_what_is_not_at_hand_is_named(tmp_path):
    store = Store(tmp_path / "runs")
    for seed in range(3):
        for track in ("torch", "tensorflow"):
            add(store, seed, wrong=5, track=track)
    text = " ".join(Page(written(store, tmp_path)).texts)
    assert "the test pictures are not at hand" in text


def test_every_drawing_speaks_and_its_figures_stand_in_a_table(store, tmp_path):
    text = written(store, tmp_path)
    drawings = re.findall(r"<svg[^>]*>", text)
    assert drawings
    assert all('role="img"' in one and "aria-label=" in one for one in drawings)
    assert text.count("<title>") == len(drawings) + 1
    assert text.count("in figures") >= len(drawings) - 1  # the forest's is the table


def test_markup_in_names_is_text(tmp_path):
    store = Store(tmp_path / "runs")
    for seed in range(3):
        for track in ("torch", "tensorflow"):
            add(store, seed, wrong=5, track=track, classes=(EVIL, "b"), command=EVIL)
    record.keep(
        store.path,
        "parity",
        {"systems": []},
        command=EVIL,
        environment={},
        subject=EVIL,
    )
    page = Page(written(store, tmp_path))
    assert not [t for t in page.tags if "onerror" in t[1] or t[0] == "img"]
    assert any(EVIL in text for text in page.texts)


@pytest.mark.parametrize(
    "tracks", [("torch",), ("torch", "tensorflow", "keras_torch"), ("tensorflow",)]
)
def test_any_number_of_tracks_has_a_page(tmp_path, tracks):
    store = Store(tmp_path / "runs")
    for seed in range(3):
        for track in tracks:
            add(store, seed, wrong=5, track=track)
    add(store, 9, wrong=0, track=tracks[0], diverged_at=7)
    text = " ".join(Page(written(store, tmp_path)).texts)
    assert all(track in text for track in tracks)


def test_many_runs_are_thinned_and_said_so(tmp_path):
    store = Store(tmp_path / "runs")
    for k in range(FULL + 2):
        for seed in range(2):
            for track in ("torch", "tensorflow"):
                add(store, seed, wrong=k, track=track, lr=0.1 + k)
    text = written(store, tmp_path)
    assert len(text) < LARGEST
    assert f"of the first {FULL} only" in " ".join(Page(text).texts)


def test_a_finding_of_another_form_is_named(store, tmp_path):
    about = {"command": "c", "environment": {}, "subject": "x"}
    record.keep(store.path, "parity", {"systems": [{"old": 1}]}, **about)
    record.keep(store.path, "horoscope", {"stars": 3}, **about)
    text = " ".join(Page(written(store, tmp_path)).texts)
    assert "another version" in text
    assert "horoscope" in text


def test_an_empty_store_is_refused(tmp_path):
    with pytest.raises(Refused, match="needs finished runs or findings"):
        report(store=tmp_path / "none", output=tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize("name", FILES)
def test_the_twins_are_whole(name):
    lines, share = twins(name)
    assert 0.3 < share < 1
    for side in ("left", "right"):
        code = re.sub(r"<[^>]+>", "", "\n".join(getattr(one, side) for one in lines))
        assert "import" in code


def test_the_calibration_error_is_that_of_the_paper():
    confidence, right = np.array([0.95, 0.95, 0.6]), np.array([True, False, True])
    assert expected_error(confidence, right) == pytest.approx((0.9 + 0.4) / 3)


def test_a_single_run_has_an_interval_too():
    labels = np.arange(100) % 2
    logits = np.eye(2)[labels] * 2
    _, error = Answers(logits=[logits], labels=labels).calibration()
    assert error.low <= error.mean <= error.high


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 7), (1e-5, 2e-5), (5, 5)])
def test_ticks_are_round_and_inside(low, high):
    found = svg.ticks(low, high)
    assert found
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in found)
    assert len(found) <= 2 * svg.TICKS


def test_the_margin_is_the_band(store):
    rows = tables.summarise(store.runs())["systems"]
    drawn = [{"name": "a", "verdict": "x", **row["difference"]} for row in rows]
    text = svg.forest(drawn, margin=stats.MARGIN, title="t")
    assert text.count('class="dot') == len(rows)
    assert 'class="margin"' in text


# A script of the test's own, after the page's: it chooses a learning rate's row by data
# and says what is to be seen.
TRIED = """<script>
const box = document.querySelector('select[data-key="mode"]');
const rows = () => [...document.querySelectorAll('table.rows tbody tr')];
const count = () => rows().filter(r => !r.hidden).length;
const said = {before: count()};
box.value = 'native'; box.dispatchEvent(new Event('change', {bubbles: true}));
said.native = count();
box.value = ''; box.dispatchEvent(new Event('change', {bubbles: true}));
document.querySelector('table.rows thead button').click();
said.after = count();
const asked = performance.getEntriesByType('resource').map(e => e.name);
said.asked = asked.filter(name => !name.startsWith('data:')).length;
document.body.setAttribute('data-said', JSON.stringify(said));
</script></body>"""


def test_in_a_browser_the_filter_works_and_nothing_is_asked_for(store, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser:
        pytest.skip("needs a browser: chromium")
    add(store, 0, wrong=3, mode="native")
    path = tmp_path / "tried.html"
    path.write_text(written(store, tmp_path).replace("</body>", TRIED))
    done = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update"),
            *("--disable-sync", "--disable-quic", "--enable-logging=stderr"),
            f"--user-data-dir={tmp_path / 'profile'}",
            *("--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = json.loads(
        re.search(r'data-said="([^"]+)"', done.stdout)[1].replace("&quot;", '"')
    )
    assert said == {"before": 3, "native": 1, "after": 3, "asked": 0}
    assert "CONSOLE" not in done.stderr
