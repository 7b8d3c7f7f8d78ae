"""Several runs in one table: time, memory, pixels, and which setting to take.

``read_runs`` and ``compare_runs`` make a :class:`Comparison`; ``as_text``, ``as_json`` and ``write`` say what it
found. How far two pictures are apart is :mod:`batch.report.compare.pixels`.
"""

from batch.report.compare.comparison import Comparison, as_json, compare_runs
from batch.report.compare.page import write
from batch.report.compare.runs import Run, read_runs
from batch.report.compare.terminal import as_text

__all__ = ["Comparison", "Run", "as_json", "as_text", "compare_runs", "read_runs", "write"]
