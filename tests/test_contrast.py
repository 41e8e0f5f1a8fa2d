"""Any two groups of runs are judged as two tracks are, or refused by what differs."""

import numpy as np
import pytest

from benchmarks.contrast import contrast
from common import report
from common.contrast import conditions
from common.errors import Refused
from common.results import Store
from tests.stored import N, add

TRACKS = ("torch", "tensorflow")


@pytest.fixture
def store(tmp_path):
    """Two learning rates in two tracks, three seeds each."""
    made = Store(tmp_path / "runs")
    for seed in range(3):
        for track in TRACKS:
            add(made, seed, wrong=50 + seed, track=track, lr=0.1)
            add(made, seed, wrong=10 + seed, track=track, lr=0.01)
    return made


def rows(store, first, second, **options):
    return contrast(first, second, store=store.path, **options)["systems"]


def test_a_contrast_has_a_row_for_each_track(store):
    found = rows(store, "recipe.lr=0.1", "recipe.lr=0.01")
    assert {row["track"] for row in found} == set(TRACKS)
    for row in found:
        assert row["difference"]["mean"] == pytest.approx(-40 / N)
        assert row["verdict"] == "different"
        assert "recipe.lr=0.01 is 8.00 points more accurate" in row["sentence"]


def test_a_contrast_of_tracks_is_the_comparison_of_compare(store):
    alone = rows(store, "track=torch", "track=tensorflow", where="recipe.lr=0.1")[0]
    compared = report.summarise(store.runs())["systems"]
    (same,) = [row for row in compared if row["overrides"] == ["recipe.lr=0.1"]]
    for key in ("difference", "tost_p", "tost_interval", "verdict", "look", "paired"):
        assert alone[key] == same[key], key
    for name, track in zip(alone["tracks"], TRACKS, strict=True):
        assert alone["tracks"][name] == same["tracks"][track]


@pytest.mark.parametrize(
    ("second", "paired"),
    [({"lr": 0.3}, True), ({"batch": 25}, False), ({"mode": "native"}, False)],
)
def test_seeds_are_pairs_where_the_plan_is_shared(store, second, paired):
    for seed in range(3):
        add(store, seed, wrong=20, **second)
    field, value = next(iter(second.items()))
    of = "mode" if field == "mode" else f"recipe.{field}"
    one = {"lr": "0.1", "batch": "50", "mode": "aligned"}[field]
    (row,) = rows(store, f"{of}={one}", f"{of}={value}", where="track=torch")[:1]
    assert row["paired"] is paired


def test_stores_and_versions_are_groups_too(store, tmp_path):
    other = Store(tmp_path / "other")
    for seed in range(3):
        add(other, seed, wrong=60, lr=0.1, versions={"torch": "2.15"})
    one, two = f"store={store.path}", f"store={other.path}"
    with pytest.raises(Refused, match=r"differ in torch: 2\.14 and 2\.15"):
        contrast(one, two, where="track=torch", store=store.path)
    found = rows(
        store,
        f"{one}, versions.torch=2.14",
        f"{two}, versions.torch=2.15",
        where="recipe.lr=0.1",
    )
    assert [row["seeds"] for row in found] == [[0, 1, 2]]


def test_a_group_without_a_partner_is_named(store):
    add(store, 7, wrong=30, lr=0.1, threads=2)
    found = contrast("recipe.lr=0.1", "recipe.lr=0.01", store=store.path)
    (alone,) = found["alone"]
    assert "threads 2" in alone
    assert "seeds 7" in alone


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ("recipe.lr", "recipe.lr=0.1", "said as field=value"),
        ("colour=red", "recipe.lr=0.1", "the nearest is"),
        ("recipe.lr=0.1", "recipe.lr=7.0", "they have recipe.lr 0.01, 0.1"),
        ("recipe.lr=0.1", "system=rasbt-mlp", "can be in one group only"),
        ("recipe.lr=0.1, track=torch", "track=tensorflow, recipe.lr=9.0", "they have"),
        ("spec.layers.conv1.out=8", "recipe.lr=0.1", "nowhere"),
        ("recipe.lr=red", "recipe.lr=0.1", "takes float"),
    ],
)
def test_what_is_no_pair_of_groups_is_refused(store, first, second, said):
    with pytest.raises(Refused, match=said) as refused:
        contrast(first, second, store=store.path)
    assert "\n" not in str(refused.value)


def test_other_test_pictures_are_refused(store):
    for seed in range(3):
        add(store, seed, wrong=1, labels=np.ones(N, np.int64), precision="bfloat16")
    with pytest.raises(Refused, match="the same test pictures"):
        contrast(
            "precision=float32",
            "precision=bfloat16",
            where="recipe.lr=0.1, track=torch",
            store=store.path,
        )


def test_commas_inside_brackets_and_quotes_do_not_part_conditions():
    found = conditions(
        "spec.hidden=(512,256), spec.norm=Norm(variance='a,b'), epochs=3"
    )
    assert [c.field for c in found[:2]] == ["spec.hidden", "spec.norm"]


@pytest.mark.parametrize("format", report.FORMATS)
def test_groups_may_differ_in_what_a_table_says_once(store, capsys, format):
    for seed in range(3):
        add(store, seed, wrong=20, lr=0.1, threads=2)
    where = ["track=torch", "recipe.lr=0.1"]
    rows(store, "threads=1", "threads=2", where=where, format=format)
    assert "1 / 2 threads" in " ".join(capsys.readouterr().out.split())


def test_groups_are_called_groups(store):
    add(store, 0, wrong=50, precision="bfloat16", lr=0.1)
    found = rows(store, "precision=float32", "precision=bfloat16", where="track=torch")
    said = " ".join(row["sentence"] for row in found)
    assert "in each group" in said
    assert "track" not in said
    result = {"systems": found, "alone": []}
    for format in ("text", "markdown"):
        shown = report.shown("contrast", result, format)
        assert "published" not in shown.lower()
        assert "of each track" not in shown
