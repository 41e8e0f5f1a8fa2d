"""`--set`: fields by other names, several values at once, what there is to set."""

import shlex

import pytest

from benchmarks.catalogue import catalogue
from benchmarks.compare import compare
from benchmarks.request import swept
from common.data import DataRequest, open_data
from common.errors import Refused
from common.overrides import applied, described, sweep
from common.systems import CIFAR, MNIST, SYSTEMS, resolve

OURS = [name for name, system in SYSTEMS.items() if system.module is None]


def made(name, overrides=(), image=MNIST):
    return resolve(name, image=image, classes=10, overrides=overrides)


# --- other names ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        # a field by another library's name, with and without its root
        ("recipe.learning_rate=0.05", "recipe.lr=0.05"),
        ("learning_rate=0.05", "recipe.lr=0.05"),
        ("lr=0.05", "recipe.lr=0.05"),
        ("batch_size=32", "recipe.batch=32"),
        ("num_epochs=3", "recipe.epochs=3"),
        ("momentum=0.9", "recipe.optimizer.momentum=0.9"),
        ("recipe.momentum=0.9", "recipe.optimizer.momentum=0.9"),
        ("weight_decay=1e-4", "recipe.decay=Decay(rate=1e-4)"),
        ("dropout=0.5", "spec.dropout=0.5"),
        ("recipe.dropout=0.5", "spec.dropout=0.5"),
        ("label_smoothing=0.1", "recipe.smoothing=0.1"),
        ("horizontal_flip=True", "recipe.augment.flip=True"),
        ("hidden_units=(64, 32)", "spec.hidden=(64, 32)"),
        # a record by its name, without its brackets
        ("recipe.optimizer=adam", "recipe.optimizer=Adam()"),
        ("optimizer=Adam", "recipe.optimizer=Adam()"),
        ("spec.init=HeNormal", "spec.init=HeNormal()"),
        ("spec.init=he_normal", "spec.init=HeNormal()"),
        ("kernel_initializer=glorot_uniform", "spec.init=GlorotUniform()"),
        ("spec.norm=BatchNorm", "spec.norm=Norm()"),
        # a value in another spelling
        ("spec.hidden=64", "spec.hidden=(64,)"),
        ("recipe.drop_last=true", "recipe.drop_last=True"),
        ("recipe.decay=none", "recipe.decay=None"),
        ("recipe.keep=Best", "recipe.keep=best"),
        ("recipe.batch=64.0", "recipe.batch=64"),
        ("recipe.decay=0.001", "recipe.decay=Decay(rate=0.001)"),
    ],
)
def test_what_is_meant_is_said_as_the_line_to_type(typed, meant):
    with pytest.raises(Refused) as refusal:
        made("rasbt-mlp", (typed,))
    line = str(refusal.value).rpartition("write ")[2]
    assert shlex.split(line) == ["--set", meant]
    made("rasbt-mlp", (meant,))  # it works


def test_what_takes_two_lines_is_said_as_two():
    with pytest.raises(Refused) as refusal:
        made("rasbt-mlp", ("recipe.optimizer=AdamW",))
    words = shlex.split(str(refusal.value).rpartition("write ")[2])
    recipe = made("rasbt-mlp", tuple(words[1::2])).recipe
    assert recipe.decay.kind == "decoupled"
    assert type(recipe.optimizer).__name__ == "Adam"


def test_a_field_that_several_layers_have_names_them():
    lines = r"spec.layers.\w+.rate=0.5 or --set spec.layers.\w+.rate=0.5"
    with pytest.raises(Refused, match=f"write --set {lines}"):
        made("rosetta-cnn", ("dropout=0.5",), CIFAR)


def test_what_nobody_can_know_names_the_nearest():
    with pytest.raises(Refused, match="the nearest is lr"):
        made("rasbt-mlp", ("recipe.lrr=1",))


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("recipe.lr=1e999", "takes finite numbers"),
        ("recipe.epochs=99999999999", "whole ones up to 2,147,483,648"),
        ("spec.scale.divide=0", "divide cannot have 0"),
        ("spec.scale=Scale(divide=0)", "divide cannot have 0"),
        ("recipe.optimizer=Adam(eps=1e999)", "takes finite numbers"),
        ("recipe.lr=0.1,0.2", "compare alone makes a row of each"),
        ("spec.layers=1", "field that exists"),
        ("recipe.lr=" + "(" * 500 + "1" + ")" * 500, "got 'recipe.lr"),
    ],
)
def test_a_value_that_no_field_can_have_is_refused(override, says):
    with pytest.raises(Refused, match=says):
        made("rasbt-mlp", (override,))


# --- several at once ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "rows"),
    [
        (["recipe.lr=0.1"], [("recipe.lr=0.1",)]),
        (["recipe.lr=0.1,0.01"], [("recipe.lr=0.1",), ("recipe.lr=0.01",)]),
        # commas inside one value
        (["spec.hidden=(512,256)"], [("spec.hidden=(512,256)",)]),
        (["spec.hidden=512,256"], [("spec.hidden=512,256",)]),
        (
            ["spec.hidden=(512,256),(64,)"],
            [("spec.hidden=(512,256)",), ("spec.hidden=(64,)",)],
        ),
        (
            ["recipe.multipliers=('',0.5),('head',1.0)"],
            [("recipe.multipliers=('',0.5),('head',1.0)",)],
        ),
        (
            ["recipe.optimizer=SGD(momentum=0.9, nesterov=True), Adam()"],
            [
                ("recipe.optimizer=SGD(momentum=0.9, nesterov=True)",),
                ("recipe.optimizer=Adam()",),
            ],
        ),
        # every combination, the last one fastest
        (
            ["recipe.lr=1,2", "recipe.batch=8", "recipe.epochs=3,4"],
            [
                ("recipe.lr=1", "recipe.batch=8", "recipe.epochs=3"),
                ("recipe.lr=1", "recipe.batch=8", "recipe.epochs=4"),
                ("recipe.lr=2", "recipe.batch=8", "recipe.epochs=3"),
                ("recipe.lr=2", "recipe.batch=8", "recipe.epochs=4"),
            ],
        ),
    ],
)
def test_a_sweep_is_split_where_a_field_does_not_take_it_whole(typed, rows):
    bare = made("rasbt-mlp")
    assert sweep(bare.spec, bare.recipe, typed) == rows


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (["recipe.lr=0.1,"], "a value between any two commas"),
        (["recipe.lr=0.1,,0.2"], "a value between any two commas"),
        (["recipe.lr=0.1,0.1"], "each value once, got 0.1 twice"),
        (
            [f"recipe.lr={','.join(map(str, range(1, 50)))}"] * 2,
            "at most 1,000 rows, got 2,401",
        ),
    ],
)
def test_a_sweep_that_is_none_is_refused(typed, says):
    bare = made("rasbt-mlp")
    with pytest.raises(Refused, match=says):
        sweep(bare.spec, bare.recipe, typed)


def test_values_that_are_the_same_are_refused_however_they_are_written():
    pictures = open_data(DataRequest(source="digits"))
    with pytest.raises(Refused, match=r"recipe.lr=0.1 and recipe.lr=.1 are the same"):
        swept("rasbt-mlp", pictures, ("recipe.lr=0.1,.1",), 1)


def test_compare_trains_each_and_says_how_many_runs_follow(tmp_path, capsys):
    found = compare(
        "rasbt-mlp",
        tracks="tests.numpy_track",
        seeds="4-4",
        epochs=1,
        limit=100,
        test_limit=50,
        threads=1,
        set=["recipe.lr=0.1,0.01", "spec.hidden=(4,)"],
        store=tmp_path,
    )
    rows = found["systems"]
    assert [row["overrides"][0] for row in rows] == ["recipe.lr=0.01", "recipe.lr=0.1"]
    assert all(row["seeds"] == [4] for row in rows)
    assert all(row["n_test"] == 50 for row in rows)
    assert rows[0]["margin"] == 0.005  # a fraction, as before
    said = capsys.readouterr().err
    assert "a sweep: rasbt-mlp 2 times, 1 to a row; 2 runs follow" in said


# --- what there is to set -------------------------------------------------------------


def test_every_field_has_a_meaning_and_a_line_that_works():
    seen = set()
    for name in OURS:
        found = made(name, image=SYSTEMS[name].image)
        listed = described(found.spec, found.recipe)
        fixed = {one.path for one in listed if not one.line}
        assert fixed == {"spec.image", "spec.classes"}
        for one in listed:
            assert one.meaning, one.path
            if one.line and one.line not in seen:
                option, override = shlex.split(one.line)
                assert option == "--set"
                after = applied(found.spec, found.recipe, (override,))
                assert after == (found.spec, found.recipe), one.path
                seen.add(one.line)
    assert len(seen) > 150


def test_list_shows_the_fields_of_a_system_and_of_a_users_own(capsys):
    (row,) = catalogue("rasbt-mlp")["systems"]
    fields = {one["path"]: one for one in row["fields"]}
    assert fields["recipe.optimizer.form"]["choices"] == "buffer, velocity"
    assert fields["spec.hidden"]["value"] == "(128, 256)"
    said = capsys.readouterr().out
    assert "Width of each hidden layer, first to last." in said
    assert "--set 'spec.hidden=(128, 256)'" in said
    (own,) = catalogue(system="tests.own_numpy")["systems"]
    meanings = {one["path"]: one["meaning"] for one in own["fields"]}
    assert meanings["spec.wide"] == "Units of the hidden layer."
    assert "fields" not in catalogue()["systems"][0]
