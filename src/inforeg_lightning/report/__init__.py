"""From run folders to tables, figures and one HTML page."""

from inforeg_lightning.report.embeddings import embedding_plots
from inforeg_lightning.report.folder import Features
from inforeg_lightning.report.page import MorePlots, write_report
from inforeg_lightning.report.runs import Run, Unreadable, load_diagnoses, load_run, load_runs
from inforeg_lightning.report.schema import FolderError
from inforeg_lightning.report.statistics import Interval, mean_interval, paired_difference
from inforeg_lightning.report.summary import Summary, summarise
from inforeg_lightning.report.sweeps import sweep_plots
from inforeg_lightning.report.tables import Table, markdown, read_tables, tables

__all__ = [
    "Features",
    "FolderError",
    "Interval",
    "MorePlots",
    "Run",
    "Summary",
    "Table",
    "Unreadable",
    "embedding_plots",
    "load_diagnoses",
    "load_run",
    "load_runs",
    "markdown",
    "mean_interval",
    "paired_difference",
    "read_tables",
    "summarise",
    "sweep_plots",
    "tables",
    "write_report",
]
