"""A third witness that imports no framework: spec and weights as an ONNX graph.

Written from the spec with the package `onnx` alone and computed by ONNX Runtime; it
shares no line with a track.  It has two forms:

- *plain* (`common.witness.plain`): ordinary nodes in float32, pictures (n, c, h, w), as
  ONNX lays them out; what `twintrack weights export --to onnx` writes.
- *lowered* (`common.witness.lowered`): float64, pictures (n, h, w, c), of nodes alone
  for which ONNX Runtime's processor has a float64 kernel; what parity is judged by.

Both take float pixels 0 to 255, as our models do, and give logits.
"""

from common.witness.judge import answers, computed, predictor, session, why_not
from common.witness.written import about, exported

__all__ = [
    "about",
    "answers",
    "computed",
    "exported",
    "predictor",
    "session",
    "why_not",
]
