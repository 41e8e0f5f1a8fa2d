"""Realistic mistakes, planted one at a time: does a test fail?

    python -m tests.mutants                  # all of them, and the score as JSON
    python -m tests.mutants plan.py clip     # those whose file or text holds a word

Each mutant is one line of code changed in a copy of the project, and the test that must
fail then.  A test that cannot run (an import that breaks) has not caught anything.
"""
