"""Inception v3 asked of a photo: what it sees, and how its answer is printed."""

import json
from pathlib import Path

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from benchmarks.classify import classify
from benchmarks.engine.chosen import PREPROCESSING, from_file
from common import model_file
from common.errors import Failed, Refused
from common.inception import InceptionSpec
from common.model_file import About
from common.photos.decode import Framing, read
from common.report import photos as report
from common.results import Store
from common.weights import random_weights

pytestmark = pytest.mark.heavy

SCHEMA = Path(__file__).parents[1] / "common/schema/classify.json"
IMAGENET = Framing(size=(299, 299), how="centre", filter="bilinear")


def photo(path, size=(500, 375)):
    """Colours that run across the whole picture."""
    w, h = size
    x, y = np.meshgrid(np.linspace(0, 255, w), np.linspace(0, 255, h))
    pixels = np.stack([x, y, (x + y) / 2], axis=2).astype(np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.mark.parametrize("size", [(500, 375), (375, 500), (342, 342), (200, 120)])
def test_the_short_side_becomes_342_and_the_middle_299_are_cut_out(size, tmp_path):
    path = photo(tmp_path / "a.png", size)
    seen = read(path, IMAGENET).pixels
    w, h = size
    scale = 342 / min(size)
    large = Image.open(path).resize(
        (round(w * scale), round(h * scale)), Image.Resampling.BILINEAR
    )
    left, top = (large.width - 299) // 2, (large.height - 299) // 2
    expected = np.asarray(large)[top : top + 299, left : left + 299]
    assert seen.shape == (299, 299, 3)
    assert np.array_equal(seen, expected)


def test_nothing_is_padded(tmp_path):
    """The published bug: resized to 256, then "cropped" to 299 with black bars."""
    path = tmp_path / "white.png"
    Image.new("RGB", (640, 480), "white").save(path)
    assert (read(path, IMAGENET).pixels == 255).all()
    small = Image.open(path).resize((341, 256), Image.Resampling.BILINEAR)
    left, top = (small.width - 299) // 2, (small.height - 299) // 2
    buggy = np.asarray(small.crop((left, top, left + 299, top + 299)))
    assert (buggy[:20] == 0).all()  # nothing is there


def test_answers_are_ordered_ties_by_label_and_k_may_exceed_n():
    logits = np.array([1.0, 3.0, 3.0, 0.0])
    told = report.answer(logits, ["a", "b", "c", "d"], None, 9)
    assert [row["label"] for row in told["top"]] == ["b", "c", "a", "d"]
    assert told["top"][0]["probability"] == pytest.approx(0.45764, abs=1e-5)


def test_a_class_without_a_name_has_an_empty_one():
    told = report.answer(np.array([0.0, 5.0]), ["a"], None, 2)
    assert [row["label"] for row in told["top"]] == ["", "a"]


def test_scores_have_five_decimals():
    told = report.answer(np.log([0.88493, 0.11507]), ["giant panda", "indri"], None, 5)
    entry = report.together("panda.jpg", (3, 4), (), {"torch": told}, None)
    assert "giant panda 0.88493" in report.text(entry, scores=True)
    assert "indri 0.11507" in report.text(entry, scores=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with weights as an import leaves them: random ones, 1,000 names."""
    folder = tmp_path_factory.mktemp("cache")
    spec = InceptionSpec(image=(299, 299, 3), classes=1000, border="include")
    about = About(
        classes=tuple(f"thing {k}" for k in range(1000)),
        source="torchvision",
        preprocessing=PREPROCESSING,
    )
    path = folder / ".weights/inception-v3-torchvision.safetensors"
    weights = {
        name: value.astype(np.float32)
        for name, value in random_weights(spec.weights, 0).items()
    }
    model_file.save(path, spec, weights, about)
    return folder


def test_both_tracks_name_a_photo_from_imported_weights(
    cache, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TWINTRACK_CACHE", str(cache))
    paths = [photo(tmp_path / "a.png"), tmp_path / "no.jpg"]
    paths[1].write_text("hello")
    with pytest.raises(Failed, match="1 of 2 could not"):
        classify(paths, system="inception-v3", json=tmp_path / "a.json", store=tmp_path)
    found = json.loads((tmp_path / "a.json").read_text())
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(found)
    good = next(entry for entry in found["photos"] if "tracks" in entry)
    tops = [good["tracks"][track]["top"] for track in ("torch", "tensorflow")]
    assert [row["label"] for row in tops[0]] == [row["label"] for row in tops[1]]
    assert len(tops[0]) == 5
    assert good["agree"] is True
    assert good["largest_difference"] < 1e-3
    assert good["tracks"]["torch"]["strangeness"] is None
    out = capsys.readouterr().out
    assert f"{tops[0][0]['label']} {tops[0][0]['probability']:.5f}" in out
    assert "no.jpg" in out


def test_a_file_of_weights_may_have_its_own_border(cache, tmp_path):
    path = cache / ".weights/inception-v3-torchvision.safetensors"
    asked = (path, Store(tmp_path), "inception-v3", None, ["torch"])
    assert from_file(*asked).spec.border == "include"
    with pytest.raises(Refused, match="must be of the architecture of --system rasbt"):
        from_file(path, Store(tmp_path), "rasbt-mlp", None, ["torch"])


def test_without_weights_the_line_says_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path))
    with pytest.raises(Refused, match="run twintrack weights import inception-v3"):
        classify([photo(tmp_path / "a.png")], system="inception-v3", store=tmp_path)
