"""Garbage is not looked for while much comes that stays, and is afterwards."""

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from common.garbage import uncollected

ROOT = Path(__file__).parents[1]
# In a process of its own: a worker of the tests has frozen what it holds.
OLD = """
import gc
from common.garbage import uncollected
with uncollected():
    kept = [[] for _ in range(9)]
assert any(found is kept for found in gc.get_objects(generation=2))
assert gc.get_freeze_count() == 0
class Round: pass
gone = []
import weakref
with uncollected():
    one = Round()
    one.self = one
    weakref.finalize(one, gone.append, 1)
del one
gc.collect()
assert gone == [1]
"""


def fails_inside():
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled()
        return 1 / 0


def test_it_goes_on_as_it_was_before_whatever_happens_inside():
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        fails_inside()
    assert gc.isenabled()


def test_what_came_meanwhile_is_old_and_still_collected():
    done = subprocess.run(
        [sys.executable, "-c", OLD], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
