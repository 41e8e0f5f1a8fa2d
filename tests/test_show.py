"""How a run learned and what it gets wrong, from what is stored alone."""

import numpy as np
import pytest
from PIL import Image

from benchmarks.show import show
from benchmarks.store import prune_store
from common import results
from common.data import DataRequest, open_data
from common.errors import Refused
from common.files import pack, write_atomic
from common.report.mistakes import EPOCHS
from common.results import Store
from tests import test_report
from tests.test_report import add

N = test_report.N


@pytest.fixture
def store(tmp_path):
    """A pair: torch is wrong of 0 to 19, tensorflow of 10 to 39, surer of each."""
    place = Store(tmp_path / "runs")
    for track, first, wrong in (("torch", 0, 20), ("tensorflow", 10, 30)):
        run = add(place, track, 0, wrong=wrong, first=first)
        logits, labels = run.logits().copy(), run.labels()
        logits[:, 1] *= 1 + np.arange(N) / N  # of the wrong ones
        judged = pack({"logits": logits, "labels": labels})
        weights = (run.path / results.WEIGHTS).read_bytes()
        epochs = [
            {
                "epoch": k,
                "train_loss": 1 / k,
                "accuracy": 0.5,
                "loss": 1.0,
                "seconds": 1,
            }
            for k in range(1, 31)
        ]
        values = run.record | {"history": epochs}
        place.write(values, logits=judged, weights=weights)
    return place


def test_a_system_is_shown_in_both_tracks_side_by_side(store, capsys):
    found = show("rasbt-mlp", store=store.path, top=3)
    assert list(found["tracks"]) == ["torch", "tensorflow"]
    both = found["together"]
    assert (both["all_wrong"], both["disagree"]) == (10, 30)
    assert both["wrong_only"] == {"torch": 10, "tensorflow": 20}
    assert both["all_right"] == N - 40
    # The surest mistakes first.
    assert [row["picture"] for row in both["shared"]] == [19, 18, 17]
    worst = found["tracks"]["tensorflow"]["worst"]
    assert [row["picture"] for row in worst] == [39, 38, 37]
    assert (worst[0]["class"], worst[0]["called"]) == ("no", "yes")
    assert found["tracks"]["torch"]["confusion"] == [[N - 20, 20], [0, 0]]
    no, yes = found["tracks"]["torch"]["classes"]
    assert (no["wrong"], no["recall"], yes["false"]) == (20, 1 - 20 / N, 20)
    shown = " ".join(capsys.readouterr().out.split())
    assert "10 wrong in all; 10 by torch alone, 20 by tensorflow alone" in shown
    assert f"{30 - EPOCHS} epochs between not shown" in shown


def test_one_run_is_shown_by_a_beginning_of_its_id(store, capsys):
    found = show("rasbt-mlp-aligned-to", store=store.path)
    assert list(found["tracks"]) == ["torch"]
    assert found["together"] is None
    assert "not shown: another track: twintrack show rasbt" in capsys.readouterr().out


def test_the_newest_pair_is_shown_unless_another_is_asked_for(store):
    alone = add(store, "torch", 1)
    found = show("rasbt-mlp", store=store.path)  # its other half is still trained
    assert found["seed"] == 0
    assert found["missing"][0].startswith(f"{alone.id}, which is newer")
    add(store, "tensorflow", 1)
    found = show("rasbt-mlp", store=store.path)
    assert (found["seed"], found["missing"]) == (1, [])
    assert show("rasbt-mlp", seed=0, store=store.path)["seed"] == 0
    with pytest.raises(Refused, match=r"it has digits, aligned, seed 0; .*seed 1"):
        show("rasbt-mlp", data="cifar10", store=store.path)
    with pytest.raises(Refused, match="--seed chooses among the runs of a system"):
        show("rasbt-mlp-aligned-torch-0", seed=0, store=store.path)


def test_a_system_in_one_track_alone_says_so(tmp_path):
    add(Store(tmp_path / "x"), "torch", 0)
    found = show("rasbt-mlp", store=tmp_path / "x")
    assert found["missing"] == [
        "another track beside torch: no run of one belongs to it"
    ]


def test_of_a_run_that_diverged_the_curve_is_shown_and_the_rest_named(store, capsys):
    add(store, "torch", 1, diverged_at=7)
    found = show("rasbt-mlp-aligned-torch-1", store=store.path)
    assert found["tracks"]["torch"]["diverged_at"] == 7
    shown = capsys.readouterr().out
    assert "not shown: answers of torch: it diverged at step 7" in shown


def test_of_a_pruned_run_all_but_how_sure_it_is_is_shown(store, capsys):
    before = show("rasbt-mlp", store=store.path)
    prune_store(drop="logits,weights", yes=True, store=store.path)
    after = show("rasbt-mlp", store=store.path)
    for track, own in before["tracks"].items():
        assert after["tracks"][track]["confusion"] == own["confusion"]
    assert after["together"]["all_wrong"] == before["together"]["all_wrong"]
    assert [row["picture"] for row in after["together"]["shared"]][:2] == [10, 11]
    assert "logits were pruned on" in capsys.readouterr().out


def test_more_classes_than_a_screen_has_columns_are_told_by_what_is_confused(
    store, capsys
):
    many = [f"class number {k}" for k in range(40)]
    for run in store.runs():
        data = run.record["data"] | {"classes": many}
        store.put_record(run.record | {"data": data})
    show("rasbt-mlp", store=store.path)
    shown = capsys.readouterr().out
    assert "what torch confuses most" in shown
    assert "rows are what it is" not in shown


# --- as pictures ----------------------------------------------------------------------


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """A pair that was judged on the digits in the cache."""
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path / "cache"))
    data = open_data(DataRequest(source="digits"))
    place, n = Store(tmp_path / "digits"), len(data.test)
    for k, track in enumerate(("torch", "tensorflow")):
        run = add(place, track, 0, fingerprint=data.fingerprint)
        logits = np.eye(10, dtype=np.float32)[data.test.labels]
        logits[k : k + 3] = np.roll(logits[k : k + 3], 1, axis=1)
        judged = pack({"logits": logits, "labels": data.test.labels})
        weights = (run.path / results.WEIGHTS).read_bytes()
        about = run.record["data"] | {"classes": list(data.classes), "test": n}
        scores = run.record["scores"] | {"n": n}
        record = run.record | {"data": about, "scores": scores}
        place.write(record, logits=judged, weights=weights)
    return place


def test_everything_is_drawn(digits, tmp_path):
    found = show("rasbt-mlp", store=digits.path, save=tmp_path / "seen")
    names = {path.name for path in (tmp_path / "seen").iterdir()}
    assert names == {
        *("confusions.png", "class-errors.png"),  # no epochs, so no curves
        *("worst-torch-1.png", "worst-tensorflow-1.png"),
        *("wrong-in-all-1.png", "disagree-1.png"),
    }
    assert sorted(found["saved"]) == sorted(str(tmp_path / "seen" / n) for n in names)
    for name in names:
        with Image.open(tmp_path / "seen" / name) as picture:
            picture.load()
    assert found["missing"] == []


def test_curves_are_drawn(store, tmp_path, monkeypatch):
    monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path / "cache"))
    show("rasbt-mlp", store=store.path, save=tmp_path / "seen")
    assert (tmp_path / "seen" / "curves.png").exists()


def test_pictures_are_found_by_their_fingerprint_whatever_they_are_called(
    digits, tmp_path
):
    """As of a run from a machine where the same folder lies elsewhere."""
    for run in digits.runs():
        job = (run.path / results.JOB).read_bytes()
        write_atomic(
            run.path / results.JOB, job.replace(b'"digits"', b'"/gone/digits"')
        )
    found = show("rasbt-mlp", store=digits.path, save=tmp_path / "seen")
    assert found["missing"] == []


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("no cache", "run twintrack data prepare digits"),
        ("other pictures", "another fingerprint"),
        ("no job", "job.json of rasbt-mlp-aligned-torch-0"),
        ("features", "features, which are no pictures"),
    ],
)
def test_why_there_are_no_test_pictures_is_said(
    digits, tmp_path, monkeypatch, capsys, change, why
):
    for run in digits.runs():
        data = dict(run.record["data"])
        if change == "no job":
            write_atomic(run.path / results.JOB, b"{")
            data |= {"fingerprint": "0" * 64}
        data |= {"fingerprint": "0" * 64} if change == "other pictures" else {}
        data |= {"features": True} if change == "features" else {}
        digits.put_record(run.record | {"data": data})
    if change == "no cache":
        monkeypatch.setenv("TWINTRACK_CACHE", str(tmp_path / "empty"))
    show("rasbt-mlp", store=digits.path, save=tmp_path / "seen")
    shown = " ".join(capsys.readouterr().out.split())
    assert "not shown: test pictures: " in shown
    assert why in shown
    assert not (tmp_path / "empty").exists()
    assert len(list((tmp_path / "seen").iterdir())) == 2
