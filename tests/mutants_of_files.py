"""Damaged copies of a JSON file, the same ones each time, in all the ways there are."""

import copy
import json
import random

# A value of every type, to stand where another type should.
STRANGERS = (None, True, -1, 1e300, "x", "../x", [], [None], {}, {"a": 1})


def damaged(content, n, *, seed=0):
    """Cut copies, and copies with flipped, doubled and lost bytes."""
    draw = random.Random(seed)
    for k in range(n):
        changed, at = bytearray(content), draw.randrange(len(content))
        match k % 4:
            case 0:
                changed[at] ^= 1 << draw.randrange(8)
            case 1:
                del changed[at:]
            case 2:
                del changed[at : at + draw.randrange(1, 40)]
            case 3:
                changed[at:at] = changed[at : at + draw.randrange(1, 40)]
        yield bytes(changed)


def changed(value, n, *, seed=0):
    """Copies of a value that lack a key, or have another type somewhere."""
    draw = random.Random(seed)
    places = [*_places(value, ())]
    for k in range(n):
        new, (*path, last) = copy.deepcopy(value), draw.choice(places)
        inside = new
        for key in path:
            inside = inside[key]
        if k % 4:
            inside[last] = copy.deepcopy(draw.choice(STRANGERS))
        else:
            del inside[last]
        yield new


def _places(value, path):
    """The path of everything in a value, but only some of a long list's."""
    items = value.items() if isinstance(value, dict) else ()
    if isinstance(value, list):
        items = list(enumerate(value))[:3]
    for key, own in items:
        yield (*path, key)
        yield from _places(own, (*path, key))


def same(one, other):
    """Whether two files say the same, however their JSON is spelt."""
    try:
        return json.loads(one) == json.loads(other)
    except ValueError:
        return False
