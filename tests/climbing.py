"""A parity ladder climbed by both tracks in this process."""

import gc

from benchmarks.measures.ladder import STAGES, measure
from benchmarks.measures.rungs import compare_stage
from benchmarks.parity import plan_climbs
from common.track import load_track


def climbed(name, folder, fault=None, steps=12, overrides=("recipe.batch=16",)):
    """The system's rungs, up to the first that fails."""
    climbs = plan_climbs(
        name,
        request=None,
        steps=steps,
        seed=3,
        threads=1,
        overrides=overrides,
        fault=fault,
        folder=folder,
    )
    return up_to_the_first_that_fails(measured_here(climbs))


def up_to_the_first_that_fails(stages):
    """The rungs of some stages, and the first that does not hold as the last."""
    rungs = []
    for found in stages:
        for rung in found:
            rungs.append(rung)
            if not rung.passed:
                return rungs
    return rungs


def measured_here(climbs):
    """The rungs of each stage, both tracks in this process."""
    stages = {
        track: measure(load_track(track), climb) for track, climb in climbs.items()
    }
    for stage in STAGES:
        assert {next(stages[track]) for track in stages} == {stage}
        gc.collect()  # Keras's models are in cycles
        yield compare_stage(stage, climbs)
