"""A command in a shell: streams that are closed, full or ASCII, --json anywhere, help.

Real processes of `twintrack list`, which imports no framework and ends at once.
"""

import errno
import io
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from benchmarks import shell
from benchmarks.cli import COMMANDS, main
from benchmarks.shell import _Errors, _Output, run
from common import __version__
from common.errors import DONE, FAILED, OURS, UNREAD, WRONG, Failed, Refused
from common.files import is_stream, write_atomic
from tests.pages import PARTS, parser

ROOT = Path(__file__).parents[1]
FULL = Path("/dev/full")
LIST = [sys.executable, "-m", "benchmarks.cli", "list", "--faults"]
# Every command, and every part of one that is several.
ALL = [[], *([n] for n in COMMANDS), *([n, p] for n, ps in PARTS.items() for p in ps)]
needs_full = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


def started(redirection="", *words, **env):
    """`twintrack list --faults` with more words, in a shell with a redirection."""
    command = '"$@" ' + redirection
    return subprocess.run(
        ["/bin/bash", "-c", f"set -o pipefail; {command}", "bash", *LIST, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": ""} | env,
    )


def one_line(text):
    (line,) = text.splitlines()
    assert line.startswith("twintrack: ")
    return line


# --- streams ------------------------------------------------------------------------


def test_a_pipe_that_nobody_reads_ends_the_command_without_a_word():
    found = started("| exec true")
    assert found.returncode in (UNREAD, DONE)  # all of it may be written before
    assert (found.stdout, found.stderr) == ("", "")


@needs_full
@pytest.mark.parametrize("words", [(), ("--help",), ("--json", "/dev/full")])
def test_an_output_that_takes_nothing_is_one_line_and_exit_code_2(words):
    found = started("> /dev/full", *words)
    assert found.returncode == WRONG
    assert "fault" not in one_line(found.stderr)


@pytest.mark.parametrize(
    ("redirection", "code"),
    [("<&- 2>&-", DONE), (">&-", WRONG)],
)
def test_closed_streams_give_no_traceback(redirection, code):
    found = started(redirection)
    assert found.returncode == code
    if code == DONE:
        assert "bn-eps" in found.stdout
        assert found.stderr == ""
    else:
        assert "standard output must be open, got a closed one" in one_line(
            found.stderr
        )


@needs_full
def test_what_cannot_be_said_on_standard_error_changes_no_exit_code():
    found = started("2>/dev/full", "--format", "html")
    assert (found.returncode, found.stdout) == (WRONG, "")


class Broken(io.StringIO):
    """A stream that fails, from the first time it is written to."""

    encoding = "utf-8"

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error


def code_of(command, monkeypatch, output=None):
    """The exit code of an app of one command; what is printed, if not to `output`."""
    app = typer.Typer(add_completion=False)
    app.command()(command)
    out, err = output or io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "argv", ["twintrack"])
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return run(app), err.getvalue()


@pytest.mark.parametrize(
    ("error", "code"),
    [(BrokenPipeError(errno.EPIPE, "Broken pipe"), UNREAD)]
    + [(OSError(n, os.strerror(n)), WRONG) for n in (errno.ENOSPC, errno.EBADF)],
)
def test_the_exit_code_says_what_became_of_the_output(error, code, monkeypatch):
    found, said = code_of(lambda: print("x"), monkeypatch, Broken(error))
    assert found == code
    assert bool(said) == (code == WRONG)


def test_a_pipe_of_another_kind_that_breaks_is_a_fault_of_ours(monkeypatch):
    """A child's, say: only standard output may be read by nobody."""

    def command():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    found, said = code_of(command, monkeypatch)
    assert found == OURS
    Path(said.split()[-1]).unlink()


def test_a_disk_that_is_full_anywhere_is_no_fault_of_ours(monkeypatch):
    def command():
        raise OSError(errno.ENOSPC, "No space left on device", "/some/file")

    found, said = code_of(command, monkeypatch)
    assert found == WRONG
    assert "it is full at /some/file" in one_line(said)


def test_a_check_that_did_not_hold_stays_one_when_nobody_reads(monkeypatch):
    class Late(Broken):
        def write(self, text):
            return len(text)

        def flush(self):
            raise self.error

    def command():
        print("x")
        raise Failed("it did not hold")

    late = Late(BrokenPipeError(errno.EPIPE, "Broken pipe"))
    assert code_of(command, monkeypatch, late)[0] == FAILED


def test_an_output_that_failed_once_stays_failed():
    """Typer tries an output out and swallows what it says."""
    output = _Output(Broken(OSError(errno.ENOSPC, "full")))
    for _ in range(2):
        with pytest.raises(Refused, match="must take what is printed"):
            output.write("x")
    assert _Errors(Broken(OSError(errno.ENOSPC, "full"))).write("x") == 1


def test_the_exit_code_of_an_unread_pipe_is_that_of_other_programs():
    assert UNREAD == 128 + signal.SIGPIPE


@pytest.mark.parametrize("env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}])
def test_signs_that_an_encoding_has_not_are_replaced_and_columns_stay(env):
    code = (
        "from benchmarks import shell; from common.report.table import *\n"
        "page = Table(columns=columns(['klass'], ['n']), rows=(('Бүргэд', '1'),"
        " ('猫', '22')))\n"
        "shell.script(lambda: print(rendered([page], 'text')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        env=os.environ | env,
    )
    assert (found.returncode, found.stderr) == (0, b"")
    *_, one, two = found.stdout.decode().rstrip().splitlines()
    assert one.endswith(" 1")
    assert two.endswith("22")
    if env.get("PYTHONIOENCODING"):
        assert found.stdout.isascii()
        assert two.startswith("\\u732b")
        assert len(one) == len(two)


# --- --json -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_json_on_standard_output_is_alone_there(name):
    found = started("", "--json", name)
    assert {"fault", "plants"} <= json.loads(found.stdout)["faults"][0].keys()
    assert "bn-eps" in found.stderr  # the tables, for who looks on
    assert not (ROOT / "-").exists()


def test_a_device_a_pipe_and_a_link_are_written_into_and_stay(tmp_path):
    pipe, link, file = tmp_path / "pipe", tmp_path / "link", tmp_path / "file"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_atomic(pipe, b"told")
    assert os.read(reader, 99) == b"told"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    file.write_bytes(b"old")
    link.symlink_to(file)
    write_atomic(link, b"new")
    assert link.is_symlink()
    assert file.read_bytes() == b"new"
    write_atomic(Path(os.devnull), b"nothing")
    assert is_stream(Path(os.devnull))
    assert not is_stream(file)
    assert not is_stream(tmp_path / "absent")


@needs_full
def test_a_full_device_is_refused_and_stays(capsys):
    with pytest.raises(Refused, match="it is full at /dev/full"):
        write_atomic(FULL, b"x")
    assert stat.S_ISCHR(FULL.stat().st_mode)


def test_a_result_that_cannot_be_written_is_refused_before_anything_runs(tmp_path):
    from benchmarks import outcome
    from benchmarks.options import Told, filled

    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "out.json"):
        with pytest.raises(Refused, match="--json must be"):
            outcome.check_told(filled(Told, {"json": path}))
    outcome.check_told(filled(Told, {"json": "-"}))


# --- help, version, wrong names -----------------------------------------------------


def said_by(words, capsys, monkeypatch):
    """Exit code, standard output and error of `twintrack` with these words."""
    monkeypatch.setattr(sys, "argv", ["twintrack", *words])
    code = main()
    return code, *capsys.readouterr()


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_help_of_every_command_speaks_to_who_types_it(words, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    pages = {
        said_by(asked, capsys, monkeypatch)
        for asked in ([*words, "--help"], [*words, "-h"], ["help", *words])
    }
    ((code, text, errors),) = pages
    assert (code, errors) == (DONE, "")
    assert "-h, --help" in text
    for word in ("Raises:", "Returns:", "Args:", "Attributes:"):
        assert word not in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_knows_the_version(words, capsys, monkeypatch):
    found = said_by([*words, "--version"], capsys, monkeypatch)
    assert found == (DONE, f"twintrack {__version__}\n", "")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lst"], "there is no command lst; the nearest is list; see --help"),
        (["help", "lst"], "there is no command lst; the nearest is list; see --help"),
        (["data", "prepre"], "there is no command prepre; the nearest is prepare"),
        (["data", "x"], "there is no command x; there are prepare, import"),
        (["xyz"], "there is no command xyz; there are compare, classify"),
        (["weights"], "a command must follow: import or export"),
        (
            ["list", "--sstem", "x"],
            "there is no option --sstem; the nearest is --system",
        ),
        (["list", "--format", "html"], "--format must be one of text, markdown"),
        (["data", "--format", "html"], "--format must be one of text, markdown"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_word_names_the_nearest(words, line, capsys, monkeypatch):
    code, out, errors = said_by(words, capsys, monkeypatch)
    assert (code, out) == (WRONG, "")
    assert line in one_line(errors)


def test_parts_of_commands_are_those_that_there_are():
    for name in COMMANDS:
        assert set(getattr(parser(name), "commands", {})) == set(PARTS.get(name, ()))


def test_the_program_lists_its_version_option(capsys, monkeypatch):
    assert "--version" in said_by([], capsys, monkeypatch)[1]
    assert shell.HELP == {"help_option_names": ["-h", "--help"]}
