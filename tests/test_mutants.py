"""The planted mistakes are where they say, and the tool tells caught from not."""

from pathlib import Path

from tests.mutants.__main__ import CAUGHT, SURVIVED, outcome
from tests.mutants.planted import MUTANTS, Mutant

ROOT = Path(__file__).parents[1]
STAIRCASE = "tests/test_plan.py::test_a_staircase_falls_after_its_steps"


def test_there_are_many_and_each_is_planted_in_one_place():
    assert len(MUTANTS) >= 100
    assert len({(m.file, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        assert (ROOT / mutant.file).read_text().count(mutant.old) == 1, mutant
        assert mutant.old != mutant.new


def test_each_names_a_test_that_is_there():
    for mutant in MUTANTS:
        file, _, name = mutant.check.partition("::")
        assert f"def {name.partition('[')[0]}(" in (ROOT / file).read_text(), mutant


def test_a_mistake_is_caught_and_the_same_in_other_words_is_not():
    (found,) = [m for m in MUTANTS if m.check == STAIRCASE]
    assert outcome(found, STAIRCASE) == CAUGHT
    harmless = Mutant(found.file, found.old, f"({found.old})", STAIRCASE)
    assert outcome(harmless, STAIRCASE) == SURVIVED
    broken = Mutant(found.file, found.old, f"{found.old} )", STAIRCASE)
    assert outcome(broken, STAIRCASE) not in (CAUGHT, SURVIVED)
