"""From run folders to tables, figures and one HTML page."""

from inforeg_lightning.report.embeddings import embedding_plots
from inforeg_lightning.report.markdown import markdown
from inforeg_lightning.report.page import MorePlots, write_report
from inforeg_lightning.report.runs import Features, Run, Unreadable, load_runs
from inforeg_lightning.report.statistics import Interval, mean_interval, paired_difference
from inforeg_lightning.report.summary import Summary, summarise
from inforeg_lightning.report.sweeps import sweep_plots

__all__ = [
    "Features",
    "Interval",
    "MorePlots",
    "Run",
    "Summary",
    "Unreadable",
    "embedding_plots",
    "load_runs",
    "markdown",
    "mean_interval",
    "paired_difference",
    "summarise",
    "sweep_plots",
    "write_report",
]
