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
    stages = {t: measure(load_track(t), climb) for t, climb in climbs.items()}
    rungs = []
    for stage in STAGES:
        assert {next(stages[track]) for track in stages} == {stage}
        gc.collect()  # Keras's models are in cycles
        for rung in compare_stage(stage, climbs):
            rungs.append(rung)
            if not rung.passed:
                return rungs
    return rungs
