"""The picture of the map: a panel per remedy and completion, a square per cell."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inforeg_lightning.report import style
from running.map.cells import COMPLETION, GENERALISES, SLOWNESS, Cell
from running.map.judging import common, verdicts, with_gains
from running.map.remedies import JOINT, REMEDIES

_MOST = 20
"""Points at which a colour is full."""
_SHORT = {
    "inforeg": "InfoReg,\npaper",
    "inforeg_official": "InfoReg,\npublished",
    "inforeg_adaptive": "InfoReg,\nadaptive",
    "inforeg_always": "InfoReg\nthroughout",
    "leader_slower": "Leader at\n¼ lr",
    "unimodal_losses": "Unimodal l.,\nown heads",
    "unimodal_losses_shared": "Unimodal l.,\nshared head",
    "dgl": "DGL",
    "auto_balance": "AutoBalance",
    "ensemble": "Ensemble\nof both alone",
}
_JOINT = "Joint,\naccuracy %"


def draw(content: Mapping[str, Any]) -> Figure:
    """Gain over joint training in points, by slowness, generalisation and completion.

    Args:
        content: Of the file of the map, with all cells.
    """
    whole = common(content["cells"])
    cells = with_gains(whole)
    joint = {n: 100 * float(np.mean(of["accuracy"][JOINT])) for n, of in whole.items()}
    with style.style():
        figure = Figure(figsize=(14.5, 6.6), layout="constrained")
        panels = figure.subplots(len(COMPLETION), len(REMEDIES) + 1, sharex=True, sharey=True)
        for row, completion in enumerate(COMPLETION):
            accuracy = _grid(joint, completion)
            _paint(panels[row, 0], accuracy, "Greys", (0, 160), "{:.0f}")
            panels[row, 0].set_ylabel(f"{completion:.0%} of samples\nby one alone")
        image = None
        for column, remedy in enumerate(REMEDIES, start=1):
            said = verdicts(content["cells"], remedy)
            for row, completion in enumerate(COMPLETION):
                gain = _grid({n: of["gains"][remedy] for n, of in cells.items()}, completion)
                image = _paint(panels[row, column], gain, "RdBu", (-_MOST, _MOST), "{:+.0f}")
                _frame(panels[row, column], said, completion)
        for panel, title in zip(panels[0], [_JOINT, *_SHORT.values()], strict=True):
            panel.set_title(title, fontsize=8.5)
        for panel in panels[-1]:
            panel.set_xticks(range(len(SLOWNESS)), [f"{slow}×" for slow in SLOWNESS], fontsize=8)
        figure.supxlabel("how much slower b is learnt than a", fontsize=10)
        bar = figure.colorbar(image, ax=panels, shrink=0.6, pad=0.01)
        bar.set_label("gain over joint training, points")
    return figure


def write(content: Mapping[str, Any], place: Path) -> None:
    """Write the picture as PNG."""
    draw(content).savefig(place, dpi=110)


def _grid(values: Mapping[str, float], completion: float) -> np.ndarray:
    return np.array(
        [[values[Cell(slow, g, completion).name] for slow in SLOWNESS] for g in GENERALISES]
    )


def _paint(
    panel: Axes, values: np.ndarray, colours: str, limits: tuple[float, float], form: str
) -> Any:
    image = panel.imshow(values, cmap=colours, vmin=limits[0], vmax=limits[1], aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        is_dark = colours == "RdBu" and abs(value) > 0.65 * _MOST
        text = form.format(value).replace("-", "−").replace("+0", "0").replace("−0", "0")
        colour = "white" if is_dark else style.FOREGROUND
        panel.text(x, y, text, ha="center", va="center", fontsize=6.5, color=colour)
    panel.set_yticks(range(len(GENERALISES)), [*GENERALISES], fontsize=7)
    panel.grid(visible=False)
    panel.tick_params(length=0)
    return image


def _frame(panel: Axes, said: Mapping[str, str], completion: float) -> None:
    """A frame around the cells whose verdict is not undecided."""
    for y, which in enumerate(GENERALISES):
        for x, slow in enumerate(SLOWNESS):
            if said[Cell(slow, which, completion).name] != "undecided":
                panel.add_patch(_square(x, y))


def _square(x: int, y: int) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, fill=False, lw=0.9, ec=style.FOREGROUND)
