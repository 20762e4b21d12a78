"""From run folders to tables, figures and one HTML page."""

from inforeg_lightning.report.markdown import markdown
from inforeg_lightning.report.page import write_report
from inforeg_lightning.report.runs import Run, Unreadable, load_runs
from inforeg_lightning.report.statistics import Interval, mean_interval, paired_difference
from inforeg_lightning.report.summary import Summary, summarise

__all__ = [
    "Interval",
    "Run",
    "Summary",
    "Unreadable",
    "load_runs",
    "markdown",
    "mean_interval",
    "paired_difference",
    "summarise",
    "write_report",
]
