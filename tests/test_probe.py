"""A label of precision is true: what a network computes in is looked at."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.compare import compare
from benchmarks.engine import machine
from benchmarks.engine.run import Looked
from common import precision
from common.errors import Refused
from common.extras import Probe, load_extra
from common.results import Store
from common.systems import resolve
from common.track import load_track
from common.weights import random_weights

ROOT = Path(__file__).parents[1]
IMAGE = (8, 8, 1)
TRACKS = ("torch", "tensorflow")
DTYPES = ("float32", "bfloat16", "float64")


def looked_at(name, track, dtype):
    """What a network computes in, as it is asked for."""
    spec = resolve(name, image=IMAGE, classes=10).spec
    module = load_track(track)
    weights = random_weights(spec.weights, 0)
    model = module.build(spec, weights=weights, dtype=dtype)
    pictures = np.zeros((2, *IMAGE), np.uint8)
    return load_extra(track, Probe).arithmetic(model, pictures)


def check(dtype, found, mode="aligned"):
    precision.check_computed(dtype, found, mode=mode, who="n in t", cure="heed it")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["rasbt-mlp", "small-cnn"])
@pytest.mark.parametrize("track", TRACKS)
def test_our_networks_compute_in_what_they_are_asked_for(track, name, dtype):
    found = looked_at(name, track, dtype)
    assert found["products"] == [dtype]
    check(dtype, found)


@pytest.mark.parametrize("track", TRACKS)
def test_a_users_network_that_ignores_its_dtype_is_found_out(track):
    found = looked_at("tests.own_twin", track, "bfloat16")
    assert found["products"] == ["float32"]
    with pytest.raises(Refused, match="bfloat16 and computes in float32; heed it or"):
        check("bfloat16", found)
    check("float32", looked_at("tests.own_twin", track, "float32"))


@pytest.mark.parametrize(
    ("dtype", "products", "values", "true"),
    [
        ("float32", ["float32"], ["float32", "float64"], True),
        ("float32", ["bfloat16"], ["bfloat16", "float32"], False),
        ("float32", ["float32", "float64"], ["float32", "float64"], False),
        ("float64", ["float32"], ["float32", "float64"], False),
        ("float64", ["float64"], ["float64"], True),
        ("bfloat16", ["bfloat16", "float32"], ["bfloat16", "float32"], True),
        ("bfloat16", ["float16"], ["float16"], False),
        ("bfloat16", [], ["bfloat16", "float32"], True),  # it multiplies nothing
        ("bfloat16", [], ["float32"], False),
        ("float64", [], [], True),  # nothing is known of it
    ],
)
def test_what_counts_is_the_type_of_the_products(dtype, products, values, true):
    found = {"products": products, "values": values}
    if true:
        check(dtype, found)
    else:
        with pytest.raises(Refused, match="labelled with"):
            check(dtype, found)


@pytest.mark.parametrize(
    ("found", "mode", "cure"),
    [
        (["float32"], "aligned", "heed it or use --precision float32"),
        (["float32"], "strict", "heed it or use --mode aligned --precision float32"),
        (["float16"], "aligned", "heed it"),
        (["float32", "float16"], "aligned", "heed it"),
    ],
)
def test_the_cure_is_one_that_works(found, mode, cure):
    with pytest.raises(Refused) as refusal:
        check("float64", {"products": found, "values": found}, mode=mode)
    assert str(refusal.value).endswith(f"; {cure}")


def test_a_network_is_looked_at_between_building_and_training():
    class Track:
        build = staticmethod(lambda spec, *, dtype: (spec, dtype))
        train = "the track's own"

    seen = []
    track = Looked(Track(), seen.append)
    assert track.train == "the track's own"
    assert track.build("spec", dtype="float32") == ("spec", "float32") == seen[0]


def test_a_run_under_a_false_label_is_refused_and_leaves_no_record(tmp_path):
    words = "two-towers in torch was asked for bfloat16 and computes in float32; have "
    words += "tests.own_twin.in_torch:build heed the dtype"
    with pytest.raises(Refused, match=words):
        compare(
            system=["tests.own_twin"],
            tracks=["torch"],
            precision="bfloat16",
            limit=200,
            seeds=1,
            store=tmp_path,
        )
    assert Store(tmp_path).runs() == []


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_auto_is_bfloat16_for_networks_of_ours_alone(device, monkeypatch):
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(machine, "resolve", lambda *_: device)
    monkeypatch.setattr(machine, "gpu_has_bf16", lambda tracks: True)
    found = {
        asked: machine.settle(device, asked, mode="aligned", tracks=["torch"])
        for asked in ("auto", "bfloat16")
    }
    ours = resolve("adventures-cnn", image=(28, 28, 1), classes=10)
    theirs = resolve("tests.own_twin", image=(28, 28, 1), classes=10)
    assert found["auto"].precision_of(ours.spec, ours.recipe) == "bfloat16"
    assert found["auto"].precision_of(theirs.spec, theirs.recipe) == "float32"
    assert found["bfloat16"].precision_of(theirs.spec, theirs.recipe) == "bfloat16"
