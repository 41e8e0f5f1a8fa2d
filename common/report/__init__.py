"""What was found, for people and for programs: one summary, three ways to show it."""

from common.report.document import markdown
from common.report.recalls import recalls, recalls_text
from common.report.summary import summarise
from common.report.terminal import text

__all__ = ["markdown", "recalls", "recalls_text", "summarise", "text"]


def shown(kind, result, format="text"):
    if kind in ("compare", "transfer"):
        said = text(result)
        return said + (
            "\n" + recalls_text(result["recalls"]) if "recalls" in result else ""
        )
    return str(result)
