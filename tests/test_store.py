"""A store one can live with: what is in it, merged, pruned, exported, shared."""

import contextlib
import json
import os
import stat
import subprocess
import sys
import tempfile
import traceback
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import outcome
from benchmarks import store as command
from benchmarks.engine.chosen import Wanted, from_runs, from_store
from benchmarks.show import show
from benchmarks.table import table
from common import record, report, results
from common.data import DataRequest
from common.errors import Damaged, Failed, Refused
from common.files import pack, readable, seal, unpack, write_atomic
from common.report import mistakes
from common.report.pages import content_of, table_of
from common.report.summary import judged_again
from common.results import Store
from common.store import contents, export, merge, on_data, prune
from common.store.stale import age
from tests.mutants_of_files import changed, damaged, same
from tests.test_report import add
from tests.test_results import JOB, checkpoint, cut, finished, flip

ROOT = Path(__file__).parents[1]
DAMAGED = 200  # copies of each kind of file


@pytest.fixture
def store(tmp_path):
    """Two seeds of both tracks; the tracks differ in one or two of 2,000 pictures."""
    place = Store(tmp_path / "runs")
    for seed in range(2):
        add(place, "torch", seed, wrong=20)
        add(place, "tensorflow", seed, wrong=21 + seed)
    return place


@pytest.fixture
def other(tmp_path):
    return Store(tmp_path / "other")


def finding(path, **changes):
    about = {"command": "twintrack parity", "environment": {}, "subject": "x; torch"}
    result = {"systems": [{"system": "x", "tracks": ["torch"], "passed": True}]}
    result["systems"][0]["rungs"] = []
    return record.keep(path, "parity", result, **about | changes)


def edit(path, change):
    """Change a run's record, and seal it again."""
    values = json.loads(path.read_text())
    change(values)
    path.write_bytes(readable(values | {"sha256": seal(values)}))


def everything(folder):
    """Every file below a folder but locks -> its bytes and when it was written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != results.LOCK
    }


def fates(ours, theirs, **options):
    return {one.id: one.what for one in merge.merged(ours, theirs, **options)}


# --- list -----------------------------------------------------------------------------


def test_a_list_counts_every_byte_by_its_kind(store, capsys):
    store.save_checkpoint("begun-torch-0-x", checkpoint())
    aside = Store(store.path)
    add(aside, "torch", 7)
    aside.set_aside("rasbt-mlp-aligned-torch-7")
    finding(store.path)
    (found,) = command.store_list(store=store.path)["stores"]
    files = [path for path in store.path.rglob("*") if path.is_file()]
    assert found["total"] == sum(path.stat().st_size for path in files)
    assert found["total"] == sum(found["bytes"].values())
    empty = {kind for kind, size in found["bytes"].items() if not size}
    assert empty == {"answers", "logs", "other"}
    (row,) = found["systems"]
    assert row["tracks"] == {"tensorflow": [0, 1], "torch": [0, 1]}
    assert found["findings"] == {"parity": 1}
    shown = " ".join(capsys.readouterr().out.split())
    assert "4 finished runs, 1 finding" in shown
    assert "torch: 0, 1" in shown


def test_unfinished_and_damaged_runs_are_named(store, capsys):
    store.save_checkpoint("begun-torch-0-x", checkpoint())
    flip(store.path / "rasbt-mlp-aligned-torch-0" / results.LOGITS)
    command.store_list(store=store.path)
    shown = " ".join(capsys.readouterr().out.split())
    assert "unfinished: begun-torch-0-x, goes on after epoch 2" in shown
    assert "torch-0/logits.safetensors" in shown
    assert "3 finished runs" in shown


def test_the_networks_of_new_classs_folds_are_listed_too(store):
    add(Store(store.path / results.FOLDS), "torch", 0)
    both = command.store_list(store=store.path)["stores"]
    assert [row["systems"][0]["runs"] for row in both] == [4, 1]


@pytest.mark.parametrize("what", ["nothing", "a file", "an empty folder"])
def test_what_is_no_store_is_refused(tmp_path, what):
    path = tmp_path / "x"
    if what == "a file":
        path.write_text("")
    elif what != "nothing":
        path.mkdir()
    with pytest.raises(Refused, match=r"store .*run twintrack compare first"):
        command.store_list(store=path)


# --- stale ----------------------------------------------------------------------------


def aged(identity, **changes):
    """Whether a run of this identity is stale."""
    values = {k: getattr(JOB, k) for k in ("system", "mode", "track", "seed")}
    values |= {k: getattr(JOB, k) for k in ("precision", "device", "threads")}
    values |= {"epochs": JOB.epochs, "spec": JOB.spec, "recipe": JOB.recipe}
    run = results.Run(values | {"identity": identity} | changes, Path("nowhere"))
    found = age(run)
    return found.state, found.why


def test_a_run_of_today_is_not_stale():
    assert aged(JOB.identity) == ("current", "")
    assert replace(JOB, seed=1).identity != JOB.identity


def test_a_run_is_as_it_was_under_the_variables_that_it_had():
    under = replace(JOB, switches=("OPENBLAS_CORETYPE=Haswell",)).identity
    assert aged(json.loads(json.dumps(under))) == ("current", "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda now: now["versions"].update(torch="1.0"), "torch 1.0, now "),
        (lambda now: now["versions"].pop("scipy"), "scipy unused, now "),
        (lambda now: now["code"].update({"common.loop:run": "0"}), "common.loop"),
        (lambda now: now["code"].pop("pt_track.mlp:MLP"), "code of pt_track.mlp"),
        (lambda now: now.update(recipe="{}"), "recipe"),
    ],
    ids=["a version", "another package", "code", "new code", "a default"],
)
def test_what_would_be_trained_anew_today_is_stale(change, why):
    now = json.loads(json.dumps(JOB.identity))
    change(now)
    state, said = aged(now)
    assert state == "stale"
    assert why in said


def test_what_cannot_be_told_is_not_called_stale():
    own = JOB.identity | {"system_code": ["0" * 64]}
    assert aged(own)[0] == "unknown"
    assert aged(None)[0] == "unknown"
    assert aged(JOB.identity, track="gone.track")[0] == "unknown"
    newer = json.dumps(json.loads(JOB.recipe) | {"a_later_field": 1})
    assert aged(JOB.identity, recipe=newer)[0] == "unknown"
    assert aged(own | {"versions": {"numpy": "0.1"}})[0] == "stale"


# --- show -----------------------------------------------------------------------------


def test_a_run_is_shown_by_a_beginning_of_its_id(store, capsys):
    found = command.show("rasbt-mlp-aligned-torch-1", store=store.path)
    assert found["record"]["seed"] == 1
    shown = capsys.readouterr().out
    assert "logits.safetensors" in shown
    assert "times.images_per_second" in shown


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("rasbt-mlp-aligned-t", "must be that of one run"),
        ("small-cnn", "must be in the store"),
        ("", "must be in the store"),
        ("begun", "has no record"),
        ("../", "must be in the store"),
    ],
)
def test_what_is_no_single_finished_run_is_refused(store, wanted, why):
    store.save_checkpoint("begun-torch-0-x", checkpoint())
    with pytest.raises(Refused, match=why):
        command.show(wanted, store=store.path)


# --- merge ----------------------------------------------------------------------------


def test_a_merge_brings_all_and_a_second_one_changes_nothing(store, other):
    finding(store.path)
    add(Store(store.path / results.FOLDS), "torch", 0)
    assert set(fates(other, store).values()) == {"copied"}
    before = everything(other.path)
    theirs = everything(store.path)
    assert before.keys() == theirs.keys()
    for name, (content, written) in theirs.items():
        assert before[name][0] == content, name
        if name.endswith(f"/{results.RECORD}"):  # the newest run stays the newest
            assert before[name][1] == written
    assert set(fates(other, store).values()) == {"same"}
    assert everything(other.path) == before
    assert report.summarise(other.runs()) == report.summarise(store.runs())


def test_a_dry_run_of_a_merge_writes_nothing(store, other):
    assert set(fates(other, store, dry=True).values()) == {"copied"}
    assert not other.path.exists()


def test_another_clock_is_the_same_run(store, other):
    fates(other, store)
    path = other.path / "rasbt-mlp-aligned-torch-0" / results.RECORD

    def slower(values):
        values["times"]["total"] = 1e6
        values["memory"]["peak"] = 1
        values["environment"]["processor"] = "another"
        values["command"] = "twintrack compare"

    edit(path, slower)
    before = everything(other.path)
    assert set(fates(other, store).values()) == {"same"}
    assert everything(other.path) == before


def test_weights_in_another_wrapping_are_the_same_run(store, other):
    """A version that says more in a file's header has other bytes, the same numbers."""
    fates(other, store)
    run = other.find("rasbt-mlp-aligned-torch-0")
    arrays, _ = unpack((run.path / results.WEIGHTS).read_bytes())
    logits = (run.path / results.LOGITS).read_bytes()
    other.write(run.record, logits=logits, weights=pack(arrays, {"new": "field"}))
    assert set(fates(other, store).values()) == {"same"}


def other_file(name):
    def change(place, run):
        files = {
            file: (run.path / file).read_bytes()
            for file in (results.LOGITS, results.WEIGHTS)
        }
        arrays, _ = unpack(files[name])
        first = next(iter(arrays))
        arrays[first] = arrays[first] + np.ones((), arrays[first].dtype)
        files[name] = pack(arrays)
        logits, weights = files[results.LOGITS], files[results.WEIGHTS]
        place.write(run.record, logits=logits, weights=weights)

    return change


def other_value(**values):
    def change(place, run):
        edit(run.path / results.RECORD, lambda record: record.update(values))

    return change


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_value(scores={"accuracy": 0.5, "loss": 0.5, "n": 2000}), "scores"),
        (other_value(losses=[1.0]), "losses"),
        (other_value(curve=[0.5]), "curve"),
        (other_value(diverged_at=3), "diverged_at"),
        (other_value(history=[{"epoch": 1, "train_loss": 1.0}]), "history"),
        (other_file(results.WEIGHTS), "weights"),
        (other_file(results.LOGITS), "logits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_numbers_are_a_conflict_by_name(store, other, change, why, capsys):
    fates(other, store)
    change(other, other.find("rasbt-mlp-aligned-torch-0"))
    before = everything(other.path)
    with pytest.raises(Failed, match="1 of 4 have not"):
        command.merge_store(store.path, store=other.path)
    assert f"rasbt-mlp-aligned-torch-0: other {why}" in capsys.readouterr().out
    assert everything(other.path) == before


def test_a_history_in_other_seconds_is_the_same_run(store, other):
    epoch = {"epoch": 1, "train_loss": 1.0, "seconds": 1.0}
    for place, seconds in ((store, 1.0), (other, 2.0)):
        fates(other, store)
        run = place.find("rasbt-mlp-aligned-torch-0")
        other_value(history=[epoch | {"seconds": seconds}])(place, run)
    assert set(fates(other, store).values()) == {"same"}


def test_unfinished_and_damaged_runs_are_left_out_by_name(store, other, capsys):
    store.save_checkpoint("begun-torch-0-x", checkpoint())
    flip(store.path / "rasbt-mlp-aligned-torch-0" / results.WEIGHTS)
    cut(finding(store.path))
    command.merge_store(store.path, store=other.path)
    shown = " ".join(capsys.readouterr().out.split())
    assert "left out: begun-torch-0-x" in shown
    assert "left out: rasbt-mlp-aligned-torch-0: a result must be" in shown
    assert "left out: parity-" in shown
    assert len(other.runs()) == 3


def test_a_whole_run_takes_the_place_of_a_damaged_one(store, other):
    fates(other, store)
    path = other.path / "rasbt-mlp-aligned-torch-0"
    flip(path / results.WEIGHTS)
    broken = (path / results.WEIGHTS).read_bytes()
    assert "replaced" in fates(other, store).values()
    assert (path / "damaged-1" / results.WEIGHTS).read_bytes() == broken
    assert set(fates(other, store).values()) == {"same"}


def test_a_finished_run_takes_the_place_of_an_unfinished_one(store, other):
    other.save_checkpoint("rasbt-mlp-aligned-torch-0", checkpoint())
    fates(other, store)
    assert not (other.path / "rasbt-mlp-aligned-torch-0" / results.CHECKPOINT).exists()
    assert len(other.runs()) == 4


@pytest.mark.parametrize("fatal", range(1, 10))
def test_a_merge_that_is_killed_leaves_whole_runs(store, other, fatal):
    """The n-th file is about to appear when the process ends."""
    count = 0

    def guard():
        nonlocal count
        count += 1
        if count == fatal:
            raise SystemExit

    with pytest.raises(SystemExit):
        fates(Store(other.path, guard=guard), store)
    found, broken = other.scan()
    assert not broken
    assert len(found) == (fatal - 1) // 4  # job, logits, weights, record of each
    fates(other, store)
    assert len(other.runs()) == 4


def test_a_run_that_is_in_work_here_is_left_out(store, other):
    code = (
        "import sys\nfrom common.results import Store\n"
        "with Store(sys.argv[1]).lock('rasbt-mlp-aligned-torch-0', waiting=print):\n"
        "    print('locked', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(other.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        assert holder.stdout.readline() == "locked\n"
        assert fates(other, store)["rasbt-mlp-aligned-torch-0"] == "in work"
        store.path.rename(other.path.parent / "whole")
        other.save_checkpoint("rasbt-mlp-aligned-torch-0", checkpoint())
        found = command.prune_store(drop="checkpoints", yes=True, store=other.path)
        assert [row["done"] for row in found["cuts"]] == [False]
    finally:
        holder.communicate()
    assert len(other.runs()) == 3


def test_another_finding_of_the_same_name_is_a_conflict(store, other):
    path = finding(store.path)
    fates(other, store)
    copy = other.path / record.FOLDER / path.name
    edit(copy, lambda values: values.update(subject="another"))
    before = copy.read_bytes()
    assert fates(other, store)[path.stem] == "conflict"
    assert copy.read_bytes() == before


def test_a_store_is_not_merged_with_itself(store):
    with pytest.raises(Refused, match="another"):
        command.merge_store(store.path, store=store.path)


def test_a_record_leads_nowhere_out_of_its_folder(store, other):
    """The hash of a record that someone made by hand is right."""
    (store.path / "secret").write_text("x")
    path = store.path / "rasbt-mlp-aligned-torch-0" / results.RECORD
    edit(path, lambda values: values["files"].update({"../secret": "0"}))
    assert fates(other, store)["rasbt-mlp-aligned-torch-0"] == "damaged"


# --- prune ----------------------------------------------------------------------------


def test_pruning_begins_with_a_dry_run(store, capsys):
    before = everything(store.path)
    found = command.prune_store(keep="weights", store=store.path)
    assert everything(store.path) == before
    assert {row["part"] for row in found["cuts"]} == {"logits"}
    assert "nothing was removed: --yes does it" in capsys.readouterr().out


def test_what_is_said_to_be_gained_is_gained(store):
    def weigh():
        found = command.store_list(store=store.path)["stores"][0]["bytes"]
        return sum(size for kind, size in found.items() if kind != "records")

    before = weigh()
    said = command.prune_store(drop="logits,weights", store=store.path)["bytes"]
    command.prune_store(drop="logits,weights", store=store.path, yes=True)
    assert before - weigh() == said > 0


def test_tables_are_the_same_without_logits_and_weights(store):
    classes = ["no", "yes"]
    before = report.summarise(store.runs()), report.recalls(store.runs(), classes)
    command.prune_store(drop=["logits", "weights"], yes=True, store=store.path)
    runs, broken = store.scan()
    assert not broken
    assert (report.summarise(runs), report.recalls(runs, classes)) == before
    assert not [*store.path.rglob(results.LOGITS), *store.path.rglob(results.WEIGHTS)]
    gone = runs[0].pruned
    assert gone.keys() == {results.LOGITS, results.WEIGHTS}
    assert all(one["when"] and one["sha256"] for one in gone.values())


@pytest.mark.parametrize("fatal", [1, 2])
def test_a_pruning_that_is_cut_short_leaves_a_whole_run(store, fatal):
    """The n-th file is about to appear when the process ends."""
    name, left = "rasbt-mlp-aligned-torch-0", fatal

    def guard():
        nonlocal left
        left -= 1
        if not left:
            raise SystemExit

    guarded = Store(store.path, guard=guard)
    (part,) = prune.cuts(guarded, {"logits"}, among=[name])
    with pytest.raises(SystemExit):
        prune.prune(part)
    np.testing.assert_array_equal(store.find(name).correct[:21], [False] * 20 + [True])


def test_a_file_that_a_pruning_left_behind_goes_with_the_next(store):
    path = store.path / "rasbt-mlp-aligned-torch-0" / results.LOGITS
    content = path.read_bytes()
    command.prune_store(drop="logits", yes=True, store=store.path)
    path.write_bytes(content)  # as if it had ended before this went
    (row,) = command.prune_store(drop="logits", yes=True, store=store.path)["cuts"]
    assert row["why"].startswith("left by a pruning")
    assert not path.exists()
    assert store.find(path.parent.name)


def test_what_is_kept_of_pruned_answers_is_checked(store):
    command.prune_store(drop="logits", yes=True, store=store.path)
    flip(store.path / "rasbt-mlp-aligned-torch-0" / results.ANSWERS)
    with pytest.raises(Damaged, match="answers"):
        store.find("rasbt-mlp-aligned-torch-0")


def test_what_needs_a_pruned_file_says_so_and_how_to_have_it_again(store, other):
    fates(other, store)
    command.prune_store(drop="logits,weights", yes=True, store=store.path)
    run = store.runs()[0]
    for needs in (run.logits, run.weights):
        with pytest.raises(
            Refused, match=r"pruned from the store on \d{4}-.*--restore"
        ):
            needs()
    with pytest.raises(Refused, match="pruned"):
        from_runs({"torch": run})
    # Its cures: the files from another store,
    command.merge_store(other.path, store=store.path)
    assert store.runs()[0].pruned
    command.merge_store(other.path, restore=True, store=store.path)
    assert not store.runs()[0].pruned
    np.testing.assert_array_equal(store.runs()[0].logits(), other.runs()[0].logits())
    assert not list(store.path.rglob(results.ANSWERS))
    # or no run at all, so that its command trains it again.
    command.prune_store(run.id, drop="runs", yes=True, store=store.path)
    assert store.find(run.id) is None
    assert len(store.runs()) == 3


def test_classify_asks_no_network_whose_weights_were_pruned(store):
    command.prune_store(drop="weights", yes=True, store=store.path)
    for run in store.runs():
        spec = json.dumps({"is": "MLPSpec"})
        edit(
            run.path / results.RECORD,
            lambda values, spec=spec: values.update(spec=spec),
        )
    with pytest.raises(Refused, match=r"were pruned; bring them back .*--drop runs"):
        from_store(store, Wanted(), ["torch"])


def test_a_run_is_not_judged_again_from_pruned_weights(store):
    identity = {"recipe": "{}", "seed": 0}
    path = store.path / "rasbt-mlp-aligned-torch-0" / results.RECORD
    edit(path, lambda values: values.update(identity=identity))
    wanted = "rasbt-mlp-aligned-torch-0-x".rpartition("-")[0].rpartition("-")[0]
    assert store.trained_alike(f"{wanted}-x", identity)
    command.prune_store(drop="weights", yes=True, store=store.path)
    assert store.trained_alike(f"{wanted}-x", identity) is None


def test_stale_damaged_and_unfinished_runs_are_pruned_by_name(store, capsys):
    store.save_checkpoint("begun-torch-0-x", checkpoint())
    flip(store.path / "rasbt-mlp-aligned-torch-0" / results.WEIGHTS)
    now = JOB.identity | {"versions": {"numpy": "0.1"}, "system_code": ["0"]}
    path = store.path / "rasbt-mlp-aligned-torch-1" / results.RECORD
    edit(path, lambda values: values.update(identity=now))
    asked = {"drop": "stale,damaged,checkpoints", "store": store.path}
    found = command.prune_store(**asked)
    assert {row["part"]: row["run"] for row in found["cuts"]} == {
        "checkpoints": "begun-torch-0-x",
        "damaged": "rasbt-mlp-aligned-torch-0",
        "stale": "rasbt-mlp-aligned-torch-1",
    }
    shown = " ".join(capsys.readouterr().out.split())
    assert "begun-torch-0-x" in shown
    assert "numpy 0.1, now" in shown
    command.prune_store(**asked, yes=True)
    assert [run.record["track"] for run in store.runs()] == ["tensorflow"] * 2
    assert len(list(store.path.iterdir())) == 2


def test_only_the_runs_that_are_meant_are_pruned(store):
    found = command.prune_store(
        "rasbt-mlp-aligned-torch-0", drop="logits", store=store.path
    )
    assert [row["run"] for row in found["cuts"]] == ["rasbt-mlp-aligned-torch-0"]
    with pytest.raises(Refused, match="it has rasbt-mlp on digits, aligned, float32"):
        command.prune_store(drop="logits", mode="native", store=store.path)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({}, "got neither"),
        ({"keep": "logits", "drop": "weights"}, "got both"),
        ({"drop": "logit"}, "got logit"),
        ({"drop": "runs"}, "must say which"),
    ],
    ids=["nothing", "both", "no part", "all runs"],
)
def test_a_pruning_that_is_not_clear_is_refused(store, asked, why):
    with pytest.raises(Refused, match=why):
        command.prune_store(**asked, store=store.path)


def test_who_waits_for_a_run_that_is_removed_gets_a_new_one(store):
    """The lock that it waited for is of a file that is gone."""
    name, gone = "rasbt-mlp-aligned-torch-0", []

    def removed():
        gone.append(name)
        cuts = list(prune.cuts(store, {"runs"}, among=[name]))
        assert len(cuts) == 1
        for path in cuts[0].paths:
            prune._remove(path)

    locked = results._locked
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            results,
            "_locked",
            lambda file, waiting: (locked(file, waiting), gone or removed()),
        )
        with store.lock(name, waiting=pytest.fail):
            assert (store.path / name / results.LOCK).exists()


# --- export ---------------------------------------------------------------------------


def test_a_table_is_printed_again_from_the_file_alone(store, tmp_path):
    file = tmp_path / "docs" / "results.json"
    content = command.export_store(file, store=store.path)
    read = content_of(file)
    assert read == content
    assert content["command"].startswith("twintrack compare")
    summary = report.summarise(store.runs())
    assert read["result"] == json.loads(json.dumps(summary))
    assert table_of(read) == report.shown("compare", summary, "markdown").rstrip()
    (row,) = read["result"]["systems"]
    assert judged_again(row, margin=row["margin"]) == row
    assert content.keys() - {"written_by", "sha256"} == {
        *("kind", "command", "environment", "result")
    }


def test_what_was_pruned_is_exported_all_the_same(store, tmp_path):
    one = command.export_store(tmp_path / "1.json", store=store.path)
    command.prune_store(drop="logits,weights", yes=True, store=store.path)
    assert command.export_store(tmp_path / "2.json", store=store.path) == one


def test_the_runs_that_are_meant_are_exported(store, tmp_path, capsys):
    add(store, "torch", 0, mode="native")
    add(store, "torch", 0, system="small-cnn")
    file = tmp_path / "x.json"
    rows = command.export_store(
        file, system="rasbt-mlp", mode="aligned", store=store.path
    )
    assert len(rows["result"]["systems"]) == 1
    assert "torch seeds 0, 1; tensorflow seeds 0, 1" in capsys.readouterr().out
    with pytest.raises(Refused, match="it has rasbt-mlp on digits, aligned"):
        command.export_store(file, system="rasbt", store=store.path)


def test_every_machine_of_exported_runs_is_named(store, tmp_path):
    path = store.path / "rasbt-mlp-aligned-torch-0" / results.RECORD
    edit(path, lambda values: values["environment"].update(processor="another"))
    content = command.export_store(tmp_path / "x.json", store=store.path)
    here, there = content["environment"], content["environment"]["others"]
    assert {here.get("processor"), there[0].get("processor")} == {None, "another"}


def test_the_newest_finding_of_a_kind_is_exported(store, tmp_path, capsys):
    finding(store.path)
    file = tmp_path / "parity.json"
    content = command.export_store(file, kind="parity", store=store.path)
    assert content_of(file)["kind"] == content["kind"] == "parity"
    with pytest.raises(Refused, match="it has parity"):
        command.export_store(file, kind="speed", store=store.path)
    with pytest.raises(Refused, match="--data chooses among runs"):
        command.export_store(file, kind="parity", data="digits", store=store.path)


# --- damaged copies -------------------------------------------------------------------


def looked_at(place):
    """All that reads a store: what is in it, tables, what was wrong."""
    found = contents.contents(place)
    report.shown("store", {"stores": [contents.listed(found)], "runs": True})
    report.shown("compare", report.summarise(found.runs))
    for run in found.runs:
        said = mistakes.found({"torch": run}, top=3) | {"missing": []}
        report.shown("show", said)
        report.shown(
            "record",
            {"record": run.record, "state": "", "why": "", "files": []},
        )
        export.of_runs([run])
    return found


@pytest.fixture
def one_run(tmp_path):
    place = Store(tmp_path / "one")
    run = add(place, "torch", 0)
    edit(run.path / results.RECORD, lambda values: values.update(identity=JOB.identity))
    return place


def test_damaged_copies_of_a_record_are_named(one_run):
    path = one_run.path / "rasbt-mlp-aligned-torch-0" / results.RECORD
    sound = path.read_bytes()
    for bad in damaged(sound, DAMAGED):
        path.write_bytes(bad)
        found = one_run.scan()
        assert len(found[1]) == 1 or same(bad, sound), bad
        assert all(str(path) in str(error) for error in found[1])


def test_records_of_another_form_break_nothing(one_run):
    """Sealed again: as of another version, or made by hand."""
    path = one_run.path / "rasbt-mlp-aligned-torch-0" / results.RECORD
    sound = json.loads(path.read_text())
    for bad in changed(sound, DAMAGED):
        bad.pop("sha256", None)
        path.write_bytes(readable(bad | {"sha256": seal(bad)}))
        found = looked_at(one_run)
        assert len(found.runs) + len(found.damaged) == 1
        assert len(one_run.scan()[1]) or found.runs[0].record.keys() <= sound.keys()


def test_damaged_copies_of_a_finding_are_named(tmp_path):
    path = finding(tmp_path)
    sound = path.read_bytes()
    copies = [*damaged(sound, DAMAGED // 2)]
    for bad in changed(json.loads(sound), DAMAGED // 2):
        copies.append(readable(bad))
    for bad in copies:
        path.write_bytes(bad)
        _, broken = record.scan(tmp_path)
        assert len(broken) == 1 or same(bad, sound), bad
        assert all(str(path) in str(error) for error in broken)


def test_findings_of_another_form_break_no_table(tmp_path, capsys):
    path = finding(tmp_path)
    sound = json.loads(path.read_text())
    for bad in changed(sound, DAMAGED):
        bad.pop("sha256", None)
        path.write_bytes(readable(bad | {"sha256": seal(bad)}))
        for kind in (None, "parity"):
            with contextlib.suppress(Refused):
                table(kind=kind, store=tmp_path)


def test_damaged_copies_of_an_exported_file_are_named(store, tmp_path):
    path = tmp_path / "x.json"
    command.export_store(path, store=store.path)
    sound = path.read_bytes()
    copies = [*damaged(sound, DAMAGED // 2)]
    copies += map(readable, changed(json.loads(sound), DAMAGED // 2))
    for bad in copies:
        path.write_bytes(bad)
        if same(bad, sound):
            continue
        with pytest.raises(Damaged, match=r"x\.json"):
            content_of(path)


def test_a_file_of_results_by_hand_is_held_to_its_form(store, tmp_path):
    path = tmp_path / "x.json"
    content = command.export_store(path, store=store.path)
    by_hand = {k: content[k] for k in ("kind", "command", "environment", "result")}
    for bad in changed(by_hand, DAMAGED):
        path.write_bytes(readable(bad))
        with contextlib.suppress(Damaged):
            table_of(content_of(path))


@pytest.mark.parametrize("name", [results.RECORD, results.LOGITS])
def test_a_pipe_in_the_place_of_a_file_is_not_read_for_ever(store, name):
    path = store.path / "rasbt-mlp-aligned-torch-0" / name
    path.unlink()
    os.mkfifo(path)
    _, (broken,) = store.scan()
    assert name in str(broken)


# --- many users -----------------------------------------------------------------------

GROUP, MEMBERS, STRANGER = 60_010, (60_001, 60_002), 60_003
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
SHARED = stat.S_IRGRP | stat.S_IWGRP
OTHERS = stat.S_IRWXO


def modes(folder):
    return {path: path.stat().st_mode for path in sorted(folder.rglob("*"))}


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
@pytest.mark.parametrize("mode", [0o2770, 0o770])
def test_in_a_groups_folder_every_file_is_the_groups(tmp_path, umask, mode):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(mode)
    before = os.umask(umask)
    try:
        place = Store(folder / "runs")
        with place.lock("rasbt-mlp-aligned-torch-9", waiting=pytest.fail):
            place.save_checkpoint("rasbt-mlp-aligned-torch-9", checkpoint())
        place.log("rasbt-mlp-aligned-torch-9")
        finished(place)
        finding(place.path)
        place.set_aside("rasbt-mlp-aligned-torch-9")
    finally:
        os.umask(before)
    ours = modes(folder)
    for path, found in ours.items():
        assert found & SHARED == SHARED, path
        if umask & 0o007:
            assert not found & OTHERS & umask, path
        if path.is_dir():
            assert bool(found & stat.S_ISGID) == bool(mode & stat.S_ISGID), path
    assert len(ours) > 8


@pytest.mark.parametrize("mode", [0o700, 0o755, 0o1777])
def test_in_a_folder_that_is_no_groups_the_umask_holds(tmp_path, mode):
    folder = tmp_path / "own"
    folder.mkdir()
    folder.chmod(mode)
    before = os.umask(0o077)
    try:
        finding(folder / "runs")
    finally:
        os.umask(before)
    assert not [p for p, found in modes(folder).items() if found & 0o077]


def as_user(user, function, *args, groups=(GROUP,)):
    """What a function prints that is called by another user, in a process of theirs.

    A fork, because the interpreter may be where only its owner may start it.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.setgroups(groups)
            os.setgid(user)
            os.setuid(user)
            os.umask(0o077)
            with contextlib.redirect_stdout(os.fdopen(1, "w", closefd=False)):
                with contextlib.redirect_stderr(sys.stdout):
                    function(*args)
                sys.stdout.flush()
            os._exit(0)
        except BaseException:
            os.write(writing, traceback.format_exc().encode())
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as said:
        text = said.read()
    assert os.waitpid(child, 0)[1] == 0, text
    return text


@pytest.fixture
def public():
    """A folder that every user can reach; pytest's own are for one user alone."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


BEGUN = "begun-torch-0-x"


def begin(place):
    with place.lock(BEGUN, waiting=pytest.fail):
        place.save_checkpoint(BEGUN, checkpoint())
        place.log(BEGUN)
        place.put_file(BEGUN, results.JOB, b"{}")


def finish(place):
    with place.lock(BEGUN, waiting=pytest.fail):
        assert place.load_checkpoint(BEGUN).state.epoch == 2
        place.log(BEGUN).write_text("mine")
        place.put_file(BEGUN, results.JOB, b"{}")
        place.save_checkpoint(BEGUN, checkpoint())
        place.set_aside(BEGUN)
        finished(place, BEGUN)
    assert place.find(BEGUN)


@AS_ROOT
def test_what_one_user_began_another_finishes(public):
    store = public / "runs"
    store.mkdir()
    os.chown(store, MEMBERS[0], GROUP)
    store.chmod(0o2770)
    as_user(MEMBERS[0], begin, Store(store))
    as_user(MEMBERS[1], finish, Store(store))
    owners = {path.stat().st_gid for path in store.rglob("*")}
    assert owners == {GROUP}


def read(folder):
    table(store=folder)
    command.store_list(store=folder)
    command.show("rasbt-mlp-aligned-torch-0", store=folder)
    show("rasbt-mlp", store=folder)
    told = {"store": folder, "json": None, "format": "text"}
    outcome.kept("classify", {"photos": []}, told, subject="x", tracks=[])


def prune_it(folder):
    with pytest.raises(Refused) as refused:
        command.prune_store(drop="logits", yes=True, store=folder)
    print(refused.value)


@AS_ROOT
def test_a_store_that_may_only_be_read_is_read(public):
    place = Store(public / "runs")
    for track in ("torch", "tensorflow"):
        add(place, track, 0)
    for path in place.path.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    place.path.chmod(0o755)
    read(place.path)  # so that all that is imported late is there
    (before_it,) = [*(place.path / record.FOLDER).iterdir()]
    before_it.unlink()
    before = everything(place.path)
    said = as_user(STRANGER, read, place.path, groups=())
    assert "no record of this" in said
    assert everything(place.path) == before
    said = as_user(STRANGER, prune_it, place.path, groups=())
    assert "Permission denied" in said
    assert "which belongs to root" in said


@AS_ROOT
def test_a_run_that_may_not_be_read_is_named(public):
    place = Store(public / "runs")
    add(place, "torch", 0)
    (place.path / "rasbt-mlp-aligned-torch-0").chmod(0o700)
    place.path.chmod(0o755)
    said = as_user(STRANGER, lambda: print(place.scan()), groups=())
    assert "a result must be readable, got 'Permission denied' for " in said
    assert "torch-0/record.json, which belongs to root" in said


def test_a_store_that_may_not_be_written_keeps_no_answers(store, monkeypatch, capsys):
    monkeypatch.setattr(os, "access", lambda path, how: False)
    outcome.kept(
        "classify",
        {"photos": []},
        {"store": store.path, "json": None, "format": "text"},
        subject="x",
        tracks=[],
    )
    assert "no record of this" in capsys.readouterr().err
    assert not (store.path / record.FOLDER).exists()


def test_a_new_store_can_be_written(tmp_path):
    finding(tmp_path / "a" / "b")
    write_atomic(tmp_path / "c" / "x", b"", shared=True)


# --- --data -------------------------------------------------------------------------


def test_data_are_named_by_name_or_by_their_very_folder(tmp_path):
    """Two folders of one name are two data sets, in every command that chooses runs."""
    for place in ("here", "there"):
        job = replace(JOB, data=DataRequest(source=str(tmp_path / place / "photos")))
        (tmp_path / place).mkdir()
        (tmp_path / place / results.JOB).write_bytes(job.to_json())
    mine, other = tmp_path / "here", tmp_path / "there"
    for name in ("photos", "features of photos"):
        assert on_data.is_on(name, mine, "photos")
        assert on_data.is_on(name, mine, str(mine / "photos"))
        assert not on_data.is_on(name, mine, str(other / "photos"))
        assert not on_data.is_on(name, mine, str(tmp_path / "photos"))
        assert on_data.is_called_like(name, str(tmp_path / "photos"))
        assert not on_data.is_called_like(name, "pictures")
