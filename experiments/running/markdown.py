"""Numbers and lines of the tables that are written into documents."""

from collections.abc import Sequence

from inforeg_lightning.report import Interval, mean_interval


def line(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose first column is text, and all others numbers."""
    return [line(head), line(["---", *["---:"] * (len(head) - 1)]), *map(line, rows)]


def percent(values: Sequence[float] | None) -> str:
    """Mean ± 95 % t interval in percent, of fractions by seed; a dash for none."""
    return plus_minus(mean_interval([*values]), signed=False) if values else "–"


def points(differences: Sequence[float] | None) -> str:
    """The same of differences, in points and with their sign; empty for none."""
    return plus_minus(mean_interval([*differences])) if differences else ""


def plus_minus(
    interval: Interval, scale: float = 100.0, signed: bool = True, digits: int = 1
) -> str:
    """``+3.8 ± 0.9``; without an interval the mean alone."""
    sign = "+" if signed else ""
    mean = f"{scale * interval.mean:{sign}.{digits}f}".replace("-", "−")
    half = interval.half_width
    return mean if half is None else f"{mean} ± {scale * half:.{digits}f}"


def signed(value: float) -> str:
    """A number with its sign, to one decimal."""
    return f"{value:+.1f}".replace("-", "−")


def p_value(p: float) -> str:
    """``0.012``, or ``< 0.001``."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
