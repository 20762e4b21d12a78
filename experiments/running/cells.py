"""What the generated tables of ``docs/`` have in common: cells and lines of Markdown."""

from collections.abc import Sequence

from inforeg_lightning.report import mean_interval
from running.contrasts import Contrast


def mean_cell(values: Sequence[float] | None) -> str:
    """The mean of shares in percent with its 95 % t interval; a dash without values."""
    if not values:
        return "–"
    found = mean_interval([100 * value for value in values])
    return f"{found.mean:.1f} ± {found.half_width or 0.0:.1f}"


def difference_cell(contrast: Contrast) -> str:
    """The paired difference to the baseline in points, with its interval."""
    half = 100 * (contrast.difference.half_width or 0.0)
    return f"{signed(100 * contrast.difference.mean)} ± {half:.1f}"


def p_cell(value: float) -> str:
    """A p-value."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def signed(value: float) -> str:
    """A number with its sign, to one decimal."""
    return f"{value:+.1f}".replace("-", "−")


def line(cells: Sequence[str]) -> str:
    """A line of a table."""
    return f"| {' | '.join(cells)} |"
