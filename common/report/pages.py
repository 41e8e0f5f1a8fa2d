"""Pages whose tables are printed from files: `docs/results/*.json`.

    python -m common.report.pages README.md docs/*.md     # print them again

A page marks where a table stands:

    <!-- table: docs/results/parity.json -->
    ...
    <!-- end -->

or a table of all the systems that some files compare:

    <!-- records: docs/results/mnist.json docs/results/airbench.json -->

A file says its kind, the command that made it and the environment; then it is a finding
(`common.record`) with its result, or tables that were copied from an older page, which
its `origin` says.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import report
from common.errors import DONE, WRONG, Damaged, Refused
from common.files import seal
from common.record import UNREADABLE
from common.report.records import records
from common.report.table import Column, Table, rendered

MARK = re.compile(r"(<!-- (table|records): ([^>]+) -->\n).*?(<!-- end -->)", re.S)


def fill(text: str, root: Path) -> str:
    """A page with its tables printed anew.

    Args:
        text: Of the page, in Markdown.
        root: The folder that the files are named from.

    Raises:
        Damaged: A file is missing, not as it was written, or of no known form.
    """

    def printed(mark: re.Match[str]) -> str:
        contents = [content_of(root / name) for name in mark[3].split()]
        if mark[2] == "table":
            (content,) = contents
            table = table_of(content)
        else:
            table = rendered([records(contents)], "markdown").rstrip()
        return f"{mark[1]}{table}\n{mark[4]}"

    return MARK.sub(printed, text)


def content_of(path: Path) -> dict[str, Any]:
    """What such a file says; one without a hash of its own is held to its form alone.

    Raises:
        Damaged: It is not as it was written, or of no known form.
    """
    try:
        if not path.is_file():  # a pipe would be read for ever
            raise OSError("no file")
        content = json.loads(path.read_bytes())
        sealed = "written_by" in content or "sha256" in content
        whole = not sealed or content["sha256"] == seal(content)
        if whole:
            table_of(content)  # its form is what can be shown
    except (*UNREADABLE, IndexError) as error:
        raise Damaged(
            f"a file of results must be as it was written, found no whole one "
            f"({type(error).__name__}) in {path}; write it again with twintrack store "
            "export"
        ) from error
    if not whole:
        raise Damaged(
            f"a file of results must be as it was written, found content that does "
            f"not match its hash in {path}; write it again with twintrack store export"
        )
    return dict(content)


def table_of(content: Mapping[str, Any]) -> str:
    """What a file says, in Markdown."""
    if "result" in content:
        kind, result = str(content["kind"]), content["result"]
        return report.shown(kind, result, "markdown").rstrip()
    tables = [
        Table(
            title=table.get("title", ""),
            columns=tuple(Column(name) for name in table["columns"]),
            rows=tuple(tuple(row) for row in table["rows"]),
            notes=tuple(table.get("notes", ())),
        )
        for table in content["tables"]
    ]
    return rendered(tables, "markdown")


def main() -> int:
    """Print the tables of the pages that the command line names."""
    for name in sys.argv[1:]:
        page = Path(name)
        try:
            page.write_text(fill(page.read_text(), Path.cwd()))
        except Refused as error:
            print(f"{name}: {error}", file=sys.stderr)
            return WRONG
    return DONE


if __name__ == "__main__":
    sys.exit(main())
