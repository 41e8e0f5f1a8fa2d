"""A parity ladder climbed by both tracks in this process."""

import dataclasses
import gc

from benchmarks.measures.ladder import STAGES, measure
from benchmarks.measures.rungs import compare_stage
from benchmarks.parity import plan_climbs
from common.track import load_track


def planned(
    name, folder, *, fault=None, request=None, steps=12, overrides=("recipe.batch=16",)
):
    """What each track is to measure of a system."""
    return plan_climbs(
        name,
        request=request,
        steps=steps,
        seed=3,
        threads=1,
        overrides=overrides,
        fault=fault,
        folder=folder,
    )


def climbed(climbs):
    """The rungs of both tracks, up to the first that fails."""
    return up_to_the_first_that_fails(measured_here(climbs))


def beside(climbs, sound):
    """The rungs with a fault in the first track, beside the second's in sound climbs.

    The second track's request is the same, so it would write the same once more.
    """
    climbs = together(climbs, sound)
    return up_to_the_first_that_fails(measured_here(climbs, [next(iter(climbs))]))


def together(climbs, sound):
    """The first track's climb, and the second's of the sound ones: it is the same."""
    first, second = climbs
    whole = sound[second]
    assert dataclasses.replace(climbs[second], folder=whole.folder) == whole
    return {first: climbs[first], second: whole}


def up_to_the_first_that_fails(stages):
    """The rungs of some stages, and the first that does not hold as the last."""
    rungs = []
    for found in stages:
        for rung in found:
            rungs.append(rung)
            if not rung.passed:
                return rungs
    return rungs


def measured_here(climbs, tracks=None):
    """The rungs of each stage; these tracks measure, in this process, or both."""
    stages = [measure(load_track(t), climbs[t]) for t in tracks or climbs]
    for stage in STAGES:
        assert {next(told) for told in stages} == {stage}
        gc.collect()  # Keras's models are in cycles
        yield compare_stage(stage, climbs)
