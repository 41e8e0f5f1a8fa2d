"""What was found, for people and for programs: one summary, three ways to show it."""

from common.report.document import markdown
from common.report.recalls import recalls, recalls_text
from common.report.summary import summarise
from common.report.terminal import text

__all__ = ["markdown", "recalls", "recalls_text", "summarise", "text"]
