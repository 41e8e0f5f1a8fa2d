"""What `twintrack port` is made of, without a framework: arrays, units, traces."""

import numpy as np
import pytest

from common.port.alike import AGREE, alike, as_other, mark, may_be_alike
from common.port.carry import carried_across, likeness, matched, shaken
from common.port.follow import followed
from common.port.graph import same_places
from common.port.told import GIVEN, Step, Trace, Unit

RNG = np.random.Generator(np.random.Philox(0))


def unit(name, shape, kind="conv", **more):
    return Unit(name=name, kind=kind, shapes={"kernel": shape} | more, tensors={})


def trace(*rows):
    """Steps (unit, inputs) in a row; what each gives is of no matter."""
    steps = tuple(
        Step(
            at=i, kind="conv" if name else kind, name=name, cls="", unit=name, inputs=to
        )
        for i, (name, kind, to) in enumerate(rows)
    )
    nothing = tuple(np.zeros(1) for _ in steps)
    return Trace(steps, nothing, tuple((np.zeros(1),) for _ in steps), {})


def test_arrays_are_alike_in_the_order_of_axes_in_which_they_are():
    maps = RNG.normal(size=(3, 4, 5, 6))
    found = alike(maps, np.moveaxis(maps, 1, -1))
    assert (found.difference, found.axes) == (0.0, (0, 2, 3, 1))
    turned = np.moveaxis(maps, 1, -1)
    np.testing.assert_array_equal(as_other(maps, found.axes, turned.shape), turned)
    assert alike(maps.mean((2, 3), keepdims=True), maps.mean((2, 3))).difference == 0
    assert alike(maps, maps[:2]).axes is None
    near = maps * (1 + 1e-8)
    assert alike(maps, near).difference > AGREE
    assert not may_be_alike(mark(maps), mark(near), AGREE)
    assert alike(np.full(3, np.nan), np.ones(3)).difference == np.inf


@pytest.mark.parametrize(
    ("one", "other", "fit"),
    [
        ((1, 3, 8, 8), (3, 1, 8, 8), False),
        ((1, 1, 8, 4), (8, 4), True),
        ((3, 3, 8, 8), (3, 3, 8, 8), True),
        ((3, 3, 8, 4), (3, 3, 4, 8), False),
    ],
)
def test_kernels_fit_by_window_and_channels(one, other, fit):
    kind = "dense" if len(other) == 2 else "conv"
    assert (likeness(unit("a", one), unit("b", other, kind)) >= 0) is fit


def test_units_are_matched_in_order_and_a_lacking_one_is_left():
    torch = [
        unit("a", (3, 3, 3, 8)),
        unit("b", (3, 3, 8, 8)),
        unit("c", (8, 5), "dense"),
    ]
    keras = [unit("x", (3, 3, 3, 8)), unit("z", (8, 5), "dense")]
    found = matched(torch, keras)
    assert [(a.name, b.name) for a, b in found.pairs] == [("a", "x"), ("c", "z")]
    assert [left.name for left in found.torch] == ["b"]
    weights = {f"{u.name}/kernel": RNG.normal(size=u.shapes["kernel"]) for u in torch}
    there = carried_across(found.pairs, weights)
    assert there.keys() == {"x/kernel", "z/kernel"}
    back = carried_across(found.pairs, there, back=True)
    np.testing.assert_array_equal(back["c/kernel"], weights["c/kernel"])


def test_branches_are_matched_by_their_place_in_whatever_order_they_are_computed():
    """Two 1 x 1 convolutions of one input: one feeds a 3 x 3, one follows a pool."""
    units = {
        "short": (1, 1, 8, 4),
        "long": (1, 1, 8, 4),
        "next": (3, 3, 4, 4),
        "pooled": (1, 1, 8, 4),
    }
    torch = [unit(name, shape) for name, shape in units.items()]
    keras = [
        unit(f"k_{name}", units[name]) for name in ("pooled", "long", "next", "short")
    ]
    here = trace(
        ("short", "", (GIVEN,)),
        ("long", "", (GIVEN,)),
        ("next", "", (1,)),
        ("", "average_pool", (GIVEN,)),
        ("pooled", "", (3,)),
        ("", "concat", (0, 2, 4)),
    )
    there = trace(
        ("", "average_pool", (GIVEN,)),
        ("k_pooled", "", (0,)),
        ("k_long", "", (GIVEN,)),
        ("k_next", "", (2,)),
        ("k_short", "", (GIVEN,)),
        ("", "concat", (4, 3, 1)),
    )
    found = same_places(torch, here, keras, there)
    assert found == {name: f"k_{name}" for name in units}
    assert same_places(torch[:3], here, keras, there) == {}


def test_what_was_replaced_proves_nothing_of_what_leads_to_it():
    """A fault before a replaced step still shows where its output goes on otherwise."""
    values = [RNG.normal(size=(2, n)) for n in (3, 4, 5)]

    def of(first, second, end):
        steps = (
            Step(at=0, kind="dense", name="a", cls="", inputs=(GIVEN,)),
            Step(at=1, kind="dense", name="b", cls="", inputs=(0,)),
            Step(at=2, kind="add", name="", cls="", inputs=(0, 1)),
        )
        given = (np.ones((2, 2)),), (first,), (first, second)
        return Trace(steps, (first, second, end), given, {"0": end})

    torch = of(*values)
    keras = of(values[0] + 1, values[1], values[2] + 1)
    seen = followed(torch, keras, {})
    assert seen.parted(1) == [2]  # b agrees: a seems to be harmless
    told = followed(torch, keras, {}, mended={1: 1})
    assert told.parted(1) == [0, 2]
    assert list(told.first(1)) == [0]


def test_a_step_that_hands_on_what_agrees_agrees():
    """Torchvision's VGG pools maps of 7 x 7 to 7 x 7; Keras's has no such layer."""
    first, end = RNG.normal(size=(2, 3)), RNG.normal(size=(2, 4))

    def of(passes, end):
        steps = [Step(at=0, kind="dense", name="a", cls="", inputs=(GIVEN,))]
        outputs, given = [first], [(np.ones((2, 2)),)]
        if passes:
            steps.append(Step(at=1, kind="pool", name="b", cls="", inputs=(0,)))
            outputs.append(first)
            given.append((first,))
        last = len(steps)
        steps.append(Step(at=last, kind="dense", name="c", cls="", inputs=(last - 1,)))
        return Trace(tuple(steps), (*outputs, end), (*given, (first,)), {"0": end})

    found = followed(of(True, end), of(False, end + 1), {})
    assert list(found.first(0)) == [2]
    assert list(found.first(1)) == [1]


def test_tensors_that_hide_faults_are_drawn_and_no_others():
    weights = {
        "a/scale": np.ones(4),
        "a/shift": np.zeros(4),
        "b/kernel": RNG.normal(size=(2, 2)),
        "b/bias": np.full(2, 0.5),
    }
    drawn = shaken(weights, 0)
    assert drawn.keys() == {"a/scale", "a/shift"}
    assert (drawn["a/scale"] > 0).all()
    assert shaken(weights, 0)["a/shift"].tolist() == drawn["a/shift"].tolist()
