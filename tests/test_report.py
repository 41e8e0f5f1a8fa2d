"""Summaries, tables and schemas of runs in a store."""

import json
import re
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import common
from benchmarks.table import table
from common import report, results, stats
from common.data import DataRequest
from common.errors import Refused
from common.files import pack
from common.job import Job
from common.report import figures
from common.report.comparison import _curves
from common.report.records import records
from common.report.sentence import Standing, verdict_sentence
from common.report.summary import judged_again
from common.results import Store

SCHEMAS = Path(common.__file__).parent / "schema"
VERSIONS = {
    "torch": {"numpy": "2.0", "torch": "2.11"},
    "tensorflow": {"numpy": "2.0", "tensorflow": "2.20", "keras": "3.12"},
    "tests.numpy_track": {"numpy": "2.0"},
}
N = 2000  # test images
TYPED = "twintrack compare rasbt-mlp --seeds 3 --set 'recipe.lr=0.1'"


def job(track, seed, **changes):
    """A job of rasbt-mlp on digits."""
    given = {
        "system": "rasbt-mlp",
        "data": DataRequest(source="digits"),
        "fingerprint": "f" * 64,
        "image": (8, 8, 1),
        "classes": 2,
        "mode": "aligned",
        "track": track,
        "seed": seed,
        "precision": "float32",
        "device": "cpu",
        "threads": 2,
        "epochs": 3,
        "spec": "{}",
        "recipe": "{}",
        "command": TYPED,
    }
    return Job(**given | changes)


def record(made, run, *, wrong, note="", versions=None, diverged_at=None):
    """What a child writes of a job that got `wrong` of N test images wrong."""
    right = 1 - wrong / N
    scores = {"accuracy": right, "loss": 0.5, "n": N} if diverged_at is None else None
    source = "a page"
    return {
        "schema": results.SCHEMA,
        "id": run,
        "data": {
            "name": made.data.source,
            "fingerprint": made.fingerprint,
            "train": 1000,
            "test": N,
            "note": note,
            "classes": ["no", "yes"],
        },
        "overrides": list(made.overrides),
        "parameters": 42,
        "scores": scores,
        "diverged_at": diverged_at,
        "history": [],
        "losses": [],
        "times": {
            "total": 9.0,
            "train": 8.0,
            "first_step": 0.25 + made.seed,
            "images_per_second": 1000.0 * (made.seed + 1),
        },
        "memory": {"peak": 500_000_000 + made.seed, "gpu": None},
        "environment": {"versions": versions or VERSIONS[made.track]},
        "published": {
            "data": "mnist",
            "torch": 0.9754,
            "tensorflow": 0.975,
            "source": source,
        },
        "command": made.command,
    } | {
        key: getattr(made, key)
        for key in (
            *("system", "mode", "precision", "track", "seed", "device", "threads"),
            *("epochs", "spec", "recipe"),
        )
    }


def add(
    store,
    track,
    seed,
    *,
    wrong=20,
    first=0,
    note="",
    versions=None,
    diverged_at=None,
    name="",
    **changes,
):
    """A run in the store whose `wrong` wrong test images start at `first`."""
    made = job(track, seed, **changes)
    run = f"{made.system}-{made.mode}-{track}-{seed}{name}"
    (store.path / run).mkdir(parents=True)
    (store.path / run / results.JOB).write_bytes(made.to_json())
    about = record(
        made, run, wrong=wrong, note=note, versions=versions, diverged_at=diverged_at
    )
    if diverged_at is not None:
        return store.write(about)
    labels = np.zeros(N, np.int64)
    logits = np.tile(np.float32([1, 0]), (N, 1))
    logits[first : first + wrong] = [0, 1]
    judged = pack({"logits": logits, "labels": labels})
    weights = pack({"head.kernel": np.full((2, 2), seed, np.float32)})
    return store.write(about, logits=judged, weights=weights)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def pairs(store):
    """Three seeds in both tracks, which differ in one or two of 2,000 test images."""
    for seed in range(3):
        add(store, "torch", seed, wrong=20)
        add(store, "tensorflow", seed, wrong=21 + seed % 2)
    return store


def only_row(store, **options):
    (row,) = report.summarise(store.runs(), **options)["systems"]
    return row


def schema(name):
    return json.loads((SCHEMAS / f"{name}.json").read_text())


# --- the summary ------------------------------------------------------------------


def test_a_summary_fits_its_schema(pairs):
    jsonschema.validate(report.summarise(pairs.runs()), schema("compare"))


def test_a_summary_is_json_without_nan(pairs):
    assert json.loads(json.dumps(report.summarise(pairs.runs()), allow_nan=False))


def test_a_mean_accuracy_is_that_of_the_runs(pairs):
    tracks = only_row(pairs)["tracks"]
    mean = tracks["tensorflow"]["accuracy"]["mean"]
    assert mean == pytest.approx(1 - (21 + 22 + 21) / 3 / N)


def test_a_difference_is_torch_minus_tensorflow(pairs):
    difference = only_row(pairs)["difference"]
    assert difference["mean"] == pytest.approx((1 + 2 + 1) / 3 / N)


def test_tracks_that_differ_by_an_image_or_two_are_equivalent(pairs):
    assert only_row(pairs)["verdict"] == "equivalent"


def test_a_smaller_margin_can_leave_them_undecided(pairs):
    assert only_row(pairs, margin=0.0005)["verdict"] == "undecided"


def test_rates_and_times_are_medians_and_memory_is_the_largest(pairs):
    track = only_row(pairs)["tracks"]["torch"]
    found = [track[key] for key in ("images_per_second", "first_step", "peak_memory")]
    assert found == [2000, 1.25, 500_000_002]


def test_mcnemar_is_given_per_seed(pairs):
    counts = [(t["torch_only"], t["p"]) for t in only_row(pairs)["mcnemar"]]
    assert counts == [(1, 1.0), (2, 0.5), (1, 1.0)]


def test_the_command_is_the_line_that_was_typed_for_the_newest_run(pairs):
    assert only_row(pairs)["command"] == TYPED


def test_a_run_that_does_not_say_has_no_command(store):
    add(store, "torch", 0, command="")
    assert only_row(store)["command"] is None


def test_a_published_figure_names_its_data_set(pairs):
    assert only_row(pairs)["published"]["data"] == "mnist"


def test_modes_never_share_a_row(pairs):
    add(pairs, "torch", 0, mode="native")
    rows = report.summarise(pairs.runs())["systems"]
    assert [row["mode"] for row in rows] == ["aligned", "native"]


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bfloat16"},
        {"fingerprint": "e" * 64},
        {"epochs": 4},
        {"threads": 1},
        {"device": "gpu"},
        {"overrides": ("recipe.lr=1",), "recipe": '{"lr": 1}'},
        {"note": "100 of 1,000 training images"},
        {"versions": {"numpy": "2.0", "torch": "2.12"}},
    ],
    ids=str,
)
def test_what_changes_the_numbers_makes_another_row(pairs, change):
    add(pairs, "torch", 0, name="-other", **change)
    assert len(report.summarise(pairs.runs())["systems"]) == 2


def under(store, *switches):
    """The newest runs of a store as if they had been made under some variables."""
    found = []
    for run in store.runs():
        if run.id.endswith("-under"):
            identity = {"switches": [*switches]}
            run = results.Run(run.record | {"identity": identity}, run.path)
        found.append(run)
    return found


def test_a_variable_that_acts_on_one_track_makes_another_row_that_says_so(pairs):
    for seed in range(3):
        add(pairs, "tensorflow", seed, name="-under")
    summary = report.summarise(under(pairs, "TF_ENABLE_ONEDNN_OPTS=0"))
    jsonschema.validate(summary, schema("compare"))
    plain, other = summary["systems"]
    assert [len(row["tracks"]["torch"]["runs"]) for row in (plain, other)] == [3, 3]
    assert (plain["switches"], other["left_out"]) == ({}, 0)
    assert other["switches"] == {"tensorflow": ["TF_ENABLE_ONEDNN_OPTS=0"]}
    shown = " ".join(report.shown("compare", summary).split())
    assert (
        shown.count("tensorflow under TF_ENABLE_ONEDNN_OPTS=0") == 2
    )  # title, setting
    assert "rasbt-mlp on digits (tensorflow under TF_ENABLE_ONEDNN_OPTS=0)" in shown


def test_a_variable_that_acts_on_all_tracks_parts_them_all(pairs):
    for track in ("torch", "tensorflow"):
        add(pairs, track, 0, name="-under")
    summary = report.summarise(under(pairs, "MKL_CBWR=AVX2"))
    assert [row["seeds"] for row in summary["systems"]] == [[0, 1, 2], [0]]
    shown = " ".join(report.shown("compare", summary).split())
    assert ", under MKL_CBWR=AVX2," in shown


def test_another_torch_is_compared_with_the_same_tensorflow(pairs):
    for seed in range(3):
        newer = {"numpy": "2.0", "torch": "2.12"}
        add(pairs, "torch", seed, versions=newer, name="-newer")
    rows = report.summarise(pairs.runs())["systems"]
    found = {(row["versions"]["torch"], row["verdict"]) for row in rows}
    assert found == {("2.11", "equivalent"), ("2.12", "equivalent")}


def test_a_second_run_of_a_seed_replaces_the_first_and_is_said(pairs):
    add(pairs, "torch", 0, name="-again")
    shown = " ".join(report.shown("compare", report.summarise(pairs.runs())).split())
    assert "1 older run of the same seeds left out" in shown


def test_native_runs_are_not_paired(store):
    for seed in range(3):
        add(store, "torch", seed, mode="native", first=30 * seed)
        add(store, "tensorflow", seed, mode="native", first=30 * seed + 500)
    row = only_row(store)
    assert (row["paired"], "3 runs per track (not paired)" in row["sentence"]) == (
        False,
        True,
    )


# --- sentences --------------------------------------------------------------------


def test_an_equivalent_sentence_has_all_figures(pairs):
    assert re.fullmatch(
        r"equivalent: the tracks differ by 0\.07 points \(torch minus tensorflow; 90 % "
        r"interval -0\.\d\d to 0\.\d\d, the one of two one-sided tests\), inside the "
        r"margin of 0\.5 points \(TOST p = 0\.0067\), over 3 seeds and 2,000 test "
        r"images",
        only_row(pairs)["sentence"],
    )


def test_a_different_sentence_names_the_better_track(store):
    for seed in range(3):
        add(store, "torch", seed, wrong=200)
        add(store, "tensorflow", seed, wrong=20 + seed)
    assert only_row(store)["sentence"].startswith(
        "different: tensorflow is 8.95 points more accurate than torch (torch minus "
        "tensorflow: -8.95, 95 % interval -10."
    )


def test_a_measurable_but_small_difference_is_said_not_to_matter(store):
    for seed in range(3):
        add(store, "torch", seed, wrong=300)
        add(store, "tensorflow", seed, wrong=320)
    sentence = only_row(store, margin=0.05)["sentence"]
    assert re.search(
        r"; the 95 % interval, 0\.\d+ to 1\.\d+, excludes 0, so there is a difference, "
        r"but one too small to matter$",
        sentence,
    )


def test_an_equivalent_sentence_does_not_contradict_itself(store):
    """The interval that is printed is inside the margin that is printed."""
    seen = 0
    for seed in range(3):
        add(store, "torch", seed, wrong=20)
        add(store, "tensorflow", seed, wrong=21 + seed, first=3)
    for margin in np.linspace(0.002, 0.01, 30):
        row = only_row(store, margin=margin)
        found = re.search(r"90 % interval (\S+) to (\S+),", row["sentence"])
        if row["verdict"] == "equivalent":
            seen += 1
            ends = [abs(float(end)) / 100 for end in found.groups()]
            assert max(ends) <= margin + 0.00005  # as they are rounded
            assert row["tost_interval"]["high"] < margin
            wider = row["difference"]["high"] > margin
            seen += 100 * wider  # the 95 % interval reaches beyond: so it is not said
    assert seen > 100


def test_too_few_runs_are_told_when_the_next_look_is(store):
    for seed, wrong in enumerate((20, 100, 60)):
        add(store, "torch", seed, wrong=wrong)
        add(store, "tensorflow", seed, wrong=60, first=20)
    sentence = only_row(store, margin=0.02)["sentence"]
    assert re.match(
        r"undecided after the look at 3 seeds; the next is at 5 \(2 more in each "
        r"track\)\. If the difference stays near 0\.00 points, about 20 seeds would "
        r"decide \(as far as 3 seeds can tell: 10 upwards\)\. The tracks get "
        r"equally many",
        sentence,
    )


def test_seeds_beyond_a_look_are_not_judged_yet(store):
    for seed in range(7):
        add(store, "torch", seed, wrong=40 * seed)
        add(store, "tensorflow", seed, wrong=60, first=20)
    row = only_row(store)
    assert (row["look"], row["next_look"]) == (5, 10)
    said = row["sentence"]
    assert said.startswith(
        "undecided after the look at 5 seeds; the next is at 10 (3 more in each track)"
    )
    assert "7 seeds are stored: judged on the first 5, next look at 10" in said
    first = report.summarise([r for r in store.runs() if r.record["seed"] < 5])
    (again,) = first["systems"]
    keys = ("difference", "difference_p", "tost_p", "tost_interval", "verdict")
    assert [row[key] for key in keys] == [again[key] for key in keys]


def test_two_seeds_are_not_judged(store):
    for seed in range(2):
        add(store, "torch", seed)
        add(store, "tensorflow", seed)
    row = only_row(store)
    assert (row["verdict"], row["look"], row["next_look"]) == ("undecided", None, 3)
    assert row["sentence"].startswith(
        "undecided: verdicts are made at 3, 5, 10, 20 and 40 seeds and nowhere between,"
        " and 2 seeds cannot tell the luck of training from a difference; run 1 more in"
        " each track. On 2,000 test images the tracks get the very same images right "
        "(torch minus tensorflow: 0.00; 95 % interval "
    )


def test_a_track_that_diverges_is_not_called_equivalent(store):
    """Eight of ten against none, whatever the two that are left say."""
    for seed in range(10):
        add(store, "torch", seed)
        lost = 7 if seed < 8 else None
        add(store, "tensorflow", seed, diverged_at=lost)
    row = only_row(store)
    assert row["verdict"] == "different"
    assert row["sentence"].startswith(
        "different: torch diverged in 0 of 10 seeds and tensorflow in 8 (exact p = "
        "0.0078), whatever the accuracy of the runs that ended"
    )


def test_an_interval_inside_the_margin_is_not_said_to_be_outside(store):
    """Undecided for the run that diverged, and not for the margin."""
    for seed in range(5):
        add(store, "torch", seed)
        add(store, "tensorflow", seed, diverged_at=7 if seed == 1 else None)
    sentence = only_row(store)["sentence"]
    assert "so they do not differ on these (90 % interval" in sentence
    assert "; margin 0.5 points)" in sentence
    assert "not inside" not in sentence


@pytest.mark.parametrize(
    ("wrong", "first", "said"),
    [
        ((20, 20), (0, 0), "the tracks get the very same images right (torch minus "),
        ((20, 20), (0, 9), "the tracks get equally many images right, though not alwa"),
        (
            (20, 30),
            (0, 0),
            "the tracks differ by 0.50 points (torch minus tensorflow; ",
        ),
        (
            (30, 20),
            (0, 0),
            "the tracks differ by 0.50 points (torch minus tensorflow: -",
        ),
    ],
)
def test_a_difference_is_said_as_one_would_say_it(store, wrong, first, said):
    """No "differ by 0.00 points", and none by a negative number."""
    for track, n, at in zip(("torch", "tensorflow"), wrong, first, strict=True):
        add(store, track, 0, wrong=n, first=at)
    assert said in only_row(store)["sentence"]


def test_a_difference_that_rounds_to_nothing_is_said_to_be_small(store):
    for seed in range(20):
        add(store, "torch", seed)
        add(store, "tensorflow", seed, wrong=21 if seed == 3 else 20)
    assert "differ by less than 0.01 points (torch minus" in only_row(store)["sentence"]


def test_runs_that_diverged_are_named_together(store):
    for seed in range(4):
        add(store, "torch", seed, diverged_at=7 if seed < 3 else 9)
        add(store, "tensorflow", seed)
    said = only_row(store)["sentence"]
    assert said.endswith(
        "Torch diverged at step 7 in seeds 0 to 2 and at step 9 in seed 3"
    )


def test_no_pair_for_runs_that_diverged_is_not_cured_by_the_same_seeds(store):
    for seed in range(2):
        for track, lost in (("torch", seed), ("tensorflow", 1 - seed)):
            add(store, track, seed, diverged_at=7 if lost else None)
    said = only_row(store)["sentence"]
    assert (
        "so there are no pairs to compare; take a recipe that does not diverge" in said
    )


def test_one_diverged_run_is_no_verdict_and_no_equivalence(store):
    for seed in range(5):
        add(store, "torch", seed)
        add(store, "tensorflow", seed, diverged_at=7 if seed == 1 else None)
    row = only_row(store)
    assert row["verdict"] == "undecided"
    assert (
        "The tracks do not end equally often (torch diverged in 0 seeds, tensorflow in "
        "1), so the runs that ended cannot show equivalence" in row["sentence"]
    )


def test_runs_that_diverge_together_leave_the_others_to_be_judged(store):
    for seed in range(5):
        lost = 7 if seed == 1 else None
        add(store, "torch", seed, diverged_at=lost)
        add(store, "tensorflow", seed, diverged_at=lost)
    row = only_row(store)
    assert (row["verdict"], row["look"]) == ("equivalent", 5)
    assert "over 4 seeds" not in row["sentence"]
    assert "in each of 4 seeds" in row["sentence"]


@pytest.mark.parametrize("made", ["pairs", "three"])
def test_what_is_kept_of_runs_gives_the_verdict_again(made, request):
    """From the JSON alone: no store, no logits."""
    runs = request.getfixturevalue(made).runs()
    row = json.loads(json.dumps(report.summarise(runs)))["systems"][0]
    bare = json.loads(json.dumps({k: row[k] for k in ("mode", "n_test", "tracks")}))
    for track in bare["tracks"].values():
        track["accuracy"] = None
    again = judged_again(bare, margin=row["margin"])
    assert {key: row[key] for key in again} == again


def test_answers_of_another_test_set_are_refused(pairs):
    row = only_row(pairs)
    with pytest.raises(ValueError, match="test sets of one size"):
        judged_again(row | {"n_test": N + 8}, margin=0.005)


@pytest.mark.parametrize("p", [0.0498, 0.04999, 0.0502, 0.00999, 0.01004, 0.05])
def test_a_rounded_p_stays_on_its_side_of_the_level(p):
    said = float(figures.p_value(p))
    assert [(said < level) for level in (0.05, 0.01)] == [
        (p < level) for level in (0.05, 0.01)
    ]


def test_too_few_test_images_are_told_how_many_it_takes(store):
    for seed in range(3):
        add(store, "torch", seed, wrong=20)
        add(store, "tensorflow", seed, wrong=24, first=10)
    sentence = only_row(store)["sentence"]
    assert re.search(
        r"If the difference stays near 0\.20 points, no number of seeds up to 40 would "
        r"decide: 2,000 test images are too few, about [\d,]+ test images would do",
        sentence,
    )


def test_one_test_image_is_one(store):
    said = stats.compare(*[np.ones((3, 1), bool)] * 2, paired=True)
    standings = {name: Standing((0, 1, 2), {}) for name in ("first", "second")}
    assert ": 1 test image is too few, about" in verdict_sentence(
        said, standings, margin=0.005
    )


def test_identical_answers_are_said_to_be_identical(store):
    for seed in range(3):
        add(store, "torch", seed)
        add(store, "tensorflow", seed)
    assert only_row(store)["sentence"].startswith(
        "equivalent: torch and tensorflow get the very same of 2,000 test images right "
        "in each of 3 seeds, so they do not differ on these"
    )


def test_identical_answers_may_be_too_few(store):
    for seed in range(3):
        add(store, "torch", seed)
        add(store, "tensorflow", seed)
    assert re.search(
        r"too few, about [\d,]+ test images would do\. Torch and tensorflow get the "
        r"very same of 2,000 .*, not inside the margin of 0\.1 points\)$",
        only_row(store, margin=0.001)["sentence"],
    )


def test_one_seed_has_its_sentence(store):
    add(store, "torch", 0)
    add(store, "tensorflow", 0, wrong=200)
    assert only_row(store)["sentence"].startswith(
        "undecided: verdicts are made at 3, 5, 10, 20 and 40 seeds and nowhere between,"
        " and 1 seed cannot tell the luck of training from a difference; run 2 more in"
        " each track. On 2,000 test images the tracks differ by 9.00 points (torch "
    )


def test_one_track_has_its_sentence(store):
    add(store, "torch", 0)
    assert only_row(store)["sentence"] == (
        "undecided: only torch was run, so there is no difference to judge; run "
        "another track as well"
    )


def test_a_track_that_was_asked_for_and_has_no_run_is_named(store):
    add(store, "torch", 0)
    row = only_row(store, tracks=["torch", "tensorflow"])
    figures = [row["difference"], row["tracks"]["tensorflow"]["accuracy"]]
    assert figures == [{"mean": None, "low": None, "high": None}] * 2
    assert row["sentence"].endswith("run tensorflow as well")


def test_one_track_has_no_figures_of_another(store):
    add(store, "torch", 0)
    row = only_row(store)
    assert row["difference"] == {"mean": None, "low": None, "high": None}
    assert (list(row["tracks"]), row["comparisons"]) == (["torch"], [])


# --- more than two tracks -----------------------------------------------------------


THIRD = "tests.numpy_track"


@pytest.fixture
def three(store):
    """Three seeds of three tracks; the third is clearly worse than the others."""
    for seed in range(3):
        add(store, THIRD, seed, wrong=220 + seed, first=400)
        add(store, "tensorflow", seed, wrong=21 + seed % 2)
        add(store, "torch", seed, wrong=20)
    return store


def test_the_first_track_is_compared_with_each_of_the_others(three):
    row = only_row(three)
    assert list(row["tracks"]) == ["torch", "tensorflow", THIRD]
    pairs = [pair["tracks"] for pair in row["comparisons"]]
    assert pairs == [["torch", "tensorflow"], ["torch", THIRD]]
    verdicts = [pair["verdict"] for pair in row["comparisons"]]
    assert verdicts == ["equivalent", "different"]
    assert row["comparisons"][1]["sentence"].startswith(
        f"different: torch is 10.05 points more accurate than {THIRD} (torch minus "
        f"{THIRD}: 10.05, "
    )


def test_tracks_come_in_the_order_that_was_asked_for(three):
    row = only_row(three, tracks=[THIRD, "torch", "tensorflow"])
    assert list(row["tracks"]) == [THIRD, "torch", "tensorflow"]
    assert row["difference"]["mean"] < -0.09
    assert row["difference"] == row["comparisons"][0]["difference"]


def test_verdicts_of_several_comparisons_are_adjusted_and_say_so(three):
    row = only_row(three)
    for pair in row["comparisons"]:
        assert pair["adjusted"] == 2
        assert "adjusted for 2 comparisons (Holm)" in pair["sentence"]
    alone = only_row(Only(three, ["torch", "tensorflow"]))
    assert alone["comparisons"][0]["adjusted"] == 1
    first = row["comparisons"][0]
    assert first["tost_p"] == pytest.approx(
        min(1, max(2 * alone["tost_p"], 0)), rel=1e-9
    )


def test_a_verdict_that_the_adjustment_takes_away_says_so(store):
    for seed in range(3):
        add(store, "torch", seed, wrong=20)
        add(store, "tensorflow", seed, wrong=20)
        add(store, THIRD, seed, wrong=20)
    margins = (k / 1e5 for k in range(100, 600))
    margin = next(
        m
        for m in margins
        if 0.025
        < only_row(Only(store, ["torch", "tensorflow"]), margin=m)["tost_p"]
        < 0.05
    )
    for pair in only_row(store, margin=margin)["comparisons"]:
        assert pair["verdict"] == "undecided"
        assert pair["sentence"].startswith(
            "undecided: by itself this comparison would be called equivalent, but not "
            "as one of 2; more runs or more test images would tell. Torch and "
        )


def test_two_tracks_that_were_asked_for_and_not_run_are_named(store):
    add(store, THIRD, 0)
    row = only_row(store, tracks=["torch", "tensorflow", THIRD])
    assert row["sentence"] == (
        "undecided: neither torch nor tensorflow was run, so there is no difference to "
        "judge; run both"
    )
    jsonschema.validate(report.summarise(store.runs()), schema("compare"))


def test_the_name_of_a_module_stays_as_it_is(store):
    add(store, THIRD, 0, diverged_at=3)
    add(store, "torch", 0)
    assert f". {THIRD} diverged at step 3" in only_row(store)["sentence"]


def test_advice_of_several_comparisons_is_for_what_they_must_pass(store):
    for seed, wrong in enumerate((20, 100, 60)):
        add(store, "torch", seed, wrong=wrong)
        add(store, "tensorflow", seed, wrong=60, first=20)
        add(store, THIRD, seed, wrong=60, first=20)
    two, less = Only(store, ["torch", "tensorflow"]), 0
    for margin in np.linspace(0.02, 0.06, 9):
        few, many = (
            int(re.search(r"about (\d+) seeds would", row["sentence"])[1])
            for row in (only_row(two, margin=margin), only_row(store, margin=margin))
        )
        assert few <= many
        less += few < many
    assert less


def test_three_tracks_fit_the_schema_and_every_format(three):
    summary = report.summarise(three.runs())
    jsonschema.validate(summary, schema("compare"))
    for format in report.FORMATS:
        shown = report.shown("compare", summary, format)
        assert "numpy" in shown
    shown = report.shown("compare", summary, "markdown")
    assert f"torch - {THIRD}, points [95 %]" in shown
    assert f"Verdict, {THIRD}" in shown


class Only:
    """The runs of some tracks of a store."""

    def __init__(self, store, tracks):
        self.store, self.tracks = store, tracks

    def runs(self):
        return [r for r in self.store.runs() if r.record["track"] in self.tracks]


def test_one_track_fits_the_schema(store):
    add(store, "torch", 0)
    jsonschema.validate(report.summarise(store.runs()), schema("compare"))


def test_a_diverged_run_is_named_and_left_out(pairs):
    add(pairs, "torch", 3, diverged_at=12)
    add(pairs, "tensorflow", 3)
    assert only_row(pairs)["sentence"].endswith(
        "over 3 seeds and 2,000 test images. 4 seeds are stored: judged on the first 3,"
        " next look at 5. Torch diverged at step 12 in seed 3: left "
        "out. Without a finished partner, so not in the difference: tensorflow seed 3"
    )


def test_a_track_that_always_diverges_where_another_never_does_is_different(store):
    for seed in range(10):
        add(store, "torch", seed)
        add(store, "tensorflow", seed, diverged_at=2)
    row = only_row(store)
    assert row["verdict"] == "different"
    assert row["difference"] == {"mean": None, "low": None, "high": None}
    assert row["sentence"].startswith(
        "different: torch diverged in 0 of 10 seeds and tensorflow in 10 (exact p = "
        "0.002), whatever the accuracy of the runs that ended. Tensorflow diverged at "
    )


def test_a_diverged_run_has_no_accuracy(pairs):
    add(pairs, "torch", 3, diverged_at=12)
    run = only_row(pairs)["tracks"]["torch"]["runs"][3]
    assert (run["accuracy"], run["diverged_at"]) == (None, 12)


def test_a_track_that_always_diverged_is_undecided(store):
    for seed in range(2):
        add(store, "torch", seed, diverged_at=seed + 1)
        add(store, "tensorflow", seed)
    row = only_row(store)
    assert (row["verdict"], row["sentence"]) == (
        "undecided",
        "undecided: every torch run diverged, so there is nothing to compare. Torch "
        "diverged at step 1 in seed 0 and at step 2 in seed 1",
    )


def test_a_track_that_always_diverged_fits_the_schema(store):
    add(store, "torch", 0, diverged_at=1)
    add(store, "tensorflow", 0)
    jsonschema.validate(report.summarise(store.runs()), schema("compare"))


def test_different_seeds_in_the_tracks_are_no_pairs(store):
    add(store, "torch", 0)
    add(store, "tensorflow", 1)
    assert "no seed has a finished run in both tracks" in only_row(store)["sentence"]


# --- tables -----------------------------------------------------------------------


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_text_table_fits_the_screen(pairs, monkeypatch, width):
    add(pairs, "torch", 0, mode="native", note="100 of 1,000 training images; more")
    monkeypatch.setenv("COLUMNS", str(width))
    lines = report.shown("compare", report.summarise(pairs.runs())).splitlines()
    assert max(map(len, lines)) <= width
    assert any("98.93" in line for line in lines)


def test_a_text_table_says_how_much_was_tested(pairs):
    shown = report.shown("compare", report.summarise(pairs.runs()))
    assert "1,000 training images and 2,000 test images; 3 seeds: 0, 1, 2" in shown


def test_a_text_table_says_what_a_limit_left(store):
    add(store, "torch", 0, note="100 of 1,000 training images")
    shown = report.shown("compare", report.summarise(store.runs()))
    assert "(100 of 1,000 training images)" in shown


def test_a_text_table_has_a_row_per_track(pairs):
    shown = report.shown("compare", report.summarise(pairs.runs()))
    assert re.search(
        r"torch +3 +99\.00 +\d\d\.\d\d to \d\d\.\d\d +2,000 +500 MB +1\.25 s "
        r"+\(97\.54\)",
        shown,
    )


def test_a_text_table_shows_a_dash_where_there_is_no_figure(store):
    add(store, "torch", 0, diverged_at=5)
    shown = report.shown("compare", report.summarise(store.runs()))
    assert re.search(r"torch +0 +- +- +- +- +- +\(97\.54\)", shown)


def test_a_markdown_table_has_a_line_per_system(pairs):
    lines = report.shown(
        "compare", report.summarise(pairs.runs()), "markdown"
    ).splitlines()
    (row,) = [line for line in lines if line.startswith("| rasbt-mlp ")]
    assert re.search(r"\| 3 / 3 \| 99\.00 \[.*\] \| 98\.93 \[.*\] \| 0\.07 \[.*\]", row)


def test_modes_never_share_a_markdown_table(pairs):
    add(pairs, "torch", 0, mode="native")
    shown = report.shown("compare", report.summarise(pairs.runs()), "markdown")
    titles = re.findall(r"^\*\*Mode.*", shown, re.MULTILINE)
    assert titles == [
        "**Mode aligned, precision float32**",
        "**Mode native, precision float32**",
    ]


def test_a_markdown_table_is_followed_by_sentences_and_commands(pairs):
    shown = report.shown("compare", report.summarise(pairs.runs()), "markdown")
    assert "- rasbt-mlp on digits: equivalent: the tracks" in shown
    assert f"- `{TYPED}`" in shown


# --- the command ------------------------------------------------------------------


def test_table_rebuilds_the_summary_from_the_store(pairs, capsys):
    made = table(store=pairs.path)
    assert made["systems"] == report.summarise(pairs.runs())["systems"]
    assert "equivalent: the tracks differ" in capsys.readouterr().out


def test_table_prints_json_that_fits_the_schema(pairs, capsys):
    table(store=pairs.path, format="json")
    jsonschema.validate(json.loads(capsys.readouterr().out), schema("compare"))


def test_table_writes_the_json_file(pairs, tmp_path, capsys):
    made = table(store=pairs.path, format="markdown", json=tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == made


def test_table_shows_only_the_systems_asked_for(pairs, capsys):
    add(pairs, "torch", 0, system="small-cnn")
    rows = table(["small-cnn"], store=pairs.path)["systems"]
    assert [row["system"] for row in rows] == ["small-cnn"]


def test_table_shows_only_the_mode_asked_for(pairs, capsys):
    add(pairs, "torch", 0, mode="native")
    rows = table(store=pairs.path, mode="native")["systems"]
    assert [row["mode"] for row in rows] == ["native"]


def test_table_names_a_damaged_record_and_shows_the_others(pairs, capsys):
    path = next(pairs.path.glob("*-torch-2/record.json"))
    path.write_text(path.read_text().replace("0.99", "0.98"))
    rows = table(store=pairs.path)["systems"]
    assert str(path) in capsys.readouterr().err
    assert len(rows[0]["tracks"]["torch"]["runs"]) == 2


def test_table_of_an_empty_store_is_refused(store):
    with pytest.raises(Refused, match=r"got none in .*runs; run `twintrack compare`"):
        table(store=store.path)


def test_table_of_an_unknown_system_names_the_nearest(pairs):
    with pytest.raises(Refused, match="the nearest is rasbt-mlp"):
        table(["rasbt-mpl"], store=pairs.path)


def test_table_of_absent_data_says_what_there_is(pairs):
    with pytest.raises(Refused, match=r"none for --data mnist .* it has data digits"):
        table(store=pairs.path, data="mnist")


@pytest.mark.parametrize(
    ("option", "value"), [("format", "html"), ("margin", 0.0), ("margin", float("nan"))]
)
def test_table_refuses_what_it_cannot_do(pairs, option, value):
    with pytest.raises(Refused, match=f"--{option} must be"):
        table(store=pairs.path, **{option: value})


@pytest.fixture
def folders(store, tmp_path):
    """A run on each of two folders of one name, and one on digits."""
    (tmp_path / "a/photos").mkdir(parents=True)
    (tmp_path / "b/photos").mkdir(parents=True)
    for seed, folder in enumerate(("a/photos", "b/photos")):
        data = DataRequest(source=str(tmp_path / folder))
        add(store, "torch", seed, data=data, fingerprint=str(seed) * 64)
        rename(store, seed, "photos")
    add(store, "torch", 2)
    return store


def rename(store, seed, name):
    """The data set's name as a run of a folder has it, sealed again."""
    (run,) = [run for run in store.runs() if run.record["seed"] == seed]
    (run.path / results.RECORD).unlink()
    about = {key: value for key, value in run.record.items() if key != "sha256"}
    about["data"] |= {"name": name}
    files = {"logits": results.LOGITS, "weights": results.WEIGHTS}
    store.write(about, **{k: (run.path / f).read_bytes() for k, f in files.items()})


@pytest.mark.parametrize(
    ("asked", "seeds", "said"),
    [
        ("photos", [0, 1], ""),
        ("{}/a/photos", [0], ""),
        ("{}/b/../b/photos/", [1], ""),
        ("/elsewhere/photos", [0, 1], "no run says /elsewhere/photos: taken are those"),
        ("digits", [2], ""),
    ],
)
def test_table_finds_runs_by_the_name_of_their_data_or_its_path(
    folders, tmp_path, capsys, asked, seeds, said
):
    rows = table(store=folders.path, data=asked.format(tmp_path))["systems"]
    assert sorted(seed for row in rows for seed in row["seeds"]) == seeds
    assert capsys.readouterr().err.startswith(said)
    assert said or not capsys.readouterr().err


def test_table_finds_no_run_on_a_folder_that_is_none_of_theirs(folders, tmp_path):
    with pytest.raises(Refused, match=r"it has data digits, photos"):
        table(store=folders.path, data=tmp_path / "c")


# --- the other schemas ------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(path.stem for path in SCHEMAS.glob("*.json")))
def test_a_schema_is_a_schema(name):
    jsonschema.Draft202012Validator.check_schema(schema(name))


def test_the_parity_schema_accepts_what_design_says():
    rung = {"name": "logits", "dtype": "float64", "difference": 1e-15}
    rung |= {"tolerance": 1e-12, "passed": True, "where": None}
    counting = rung | {"name": "names", "dtype": None, "difference": 0, "tolerance": 0}
    system = {"system": "small-cnn", "passed": True, "rungs": [rung, counting]}
    system |= {"tracks": ["torch", "tensorflow"]}
    jsonschema.validate({"systems": [system]}, schema("parity"))


def test_the_speed_schema_accepts_what_design_says():
    track = {"ours": 558.0, "bare": 560.0, "naive": 277.0, "ours_over_bare": 0.996}
    track |= {"ours_over_naive": 2.01, "share_of_peak": None}
    track |= {"ranges": {}, "peak_flops": {}, "steps": 20}
    tracks = {"torch": track, "tensorflow": track}
    system = {"system": "rosetta-cnn", "what": "train", "tracks": tracks, "bars": []}
    system |= {"device": "cpu", "threads": 2, "rounds": 10}
    system |= {"precision": "float32", "batch": 50, "data": "pictures"}
    jsonschema.validate({"systems": [system]}, schema("speed"))


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("parity", {"systems": [{"system": "a", "passed": "yes", "rungs": []}]}),
        ("speed", {"systems": [{"system": "a", "what": "sleep", "tracks": {}}]}),
        ("compare", {"systems": [{"system": "a"}]}),
    ],
)
def test_a_schema_refuses_another_shape(name, wrong):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema(name))


def test_the_table_of_records_joins_what_was_trained_with_what_was_timed():
    track = {
        "accuracy": {"mean": 0.94, "low": 0.93, "high": 0.95},
        "runs": [{"accuracy": 0.94}, {"accuracy": None}, {"accuracy": 0.94}],
        "seconds": 90.0,
    }
    row = {
        "system": "net",
        "data": "cifar10",
        "epochs": 8,
        "precision": "bfloat16",
        "overrides": ["recipe.repeats=3"],
        "published": {"other": 0.965, "data": "cifar10", "source": "a paper"},
        "verdict": "undecided",
        "tracks": {"torch": track},
    }
    timed = {
        "system": "net",
        "what": "train",
        "tracks": {"torch": {"share_of_peak": 0.876}, "tensorflow": {}},
    }
    speed = {
        "kind": "speed",
        "result": {"systems": [timed, timed | {"what": "predict"}]},
    }
    table = records([{"kind": "compare", "result": {"systems": [row]}}, speed])
    assert table.rows == (
        (
            *("net, recipe.repeats=3", "cifar10, 8 epochs, bfloat16"),
            *("96.50 in neither (cifar10)", "94.00 [93.00 to 95.00], 2", "-"),
            *("undecided", "1.5 / -", "0.88 / -"),
        ),
    )


def test_a_curve_is_told_at_some_of_its_repeats():
    curve = [0.5 + n / 1000 for n in range(30)]
    runs = [{"curve": curve}, {"curve": [value + 0.01 for value in curve]}]
    row = {"tracks": {"torch": {"runs": runs}, "tensorflow": {"runs": [{"curve": []}]}}}
    assert list(_curves(row)) == [
        "by repeats   torch 1: 50.50, 2: 50.60, 3: 50.70, 6: 51.00, 12: 51.60, "
        "25: 52.90, 30: 53.40"
    ]
