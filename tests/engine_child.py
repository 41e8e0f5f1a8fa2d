"""What the children of test_engine do."""

import os
import threading
import time


def wait(values, tell):
    """Say where it is, then do nothing until it is ended."""
    tell("here", pid=os.getpid())
    time.sleep(600)


def hold_the_lock(values, tell):
    """Keep Python's lock in one long piece of C: no thread of Python gets a turn."""
    tell("here", pid=os.getpid())
    _ = 7 ** (10**9)  # some minutes of multiplication


def give_back(values, tell):
    """The values, an event before, and noise that belongs into the log."""
    print("noise on standard output", flush=True)
    os.write(1, b"more noise\n")
    tell("here", pid=os.getpid())
    return values


def raise_zero(values, tell):
    """A fault of ours."""
    return 1 / 0


def kill_itself(values, tell):
    """What a lack of memory looks like."""
    os.kill(os.getpid(), 9)


def tell_bytes(values, tell):
    """Raw bytes with newlines and braces in them, of several sizes, from threads."""
    sizes = values["sizes"]
    threads = [
        threading.Thread(target=tell, args=("raw",), kwargs={"content": b'\n{"' * n})
        for n in sizes
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"sent": 3 * sum(sizes)}


def variables(values, tell):
    """What some variables of its environment are."""
    return {name: os.environ.get(name) for name in values["names"]}
