"""t-SNE of what the encoders make of the test set (the paper's Figure 6)."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from inforeg_lightning.report import style
from inforeg_lightning.report.figures import Drawn, Plot, choose
from inforeg_lightning.report.folder import Features
from inforeg_lightning.report.measures import measure
from inforeg_lightning.report.runs import Run
from inforeg_lightning.report.schema import FolderError
from inforeg_lightning.report.summary import Summary

# Paul Tol's "muted": told apart by colour-blind readers.
CLASS_COLOURS = (
    "#332288", "#88ccee", "#44aa99", "#117733", "#999933",
    "#ddcc77", "#cc6677", "#882255", "#aa4499", "#7d7d7d",
)  # fmt: skip
CLASS_MARKERS = "o^sXD"
PERPLEXITY = 30
NOTHING_KEPT = "no features kept"


def embedding_plots(summary: Summary) -> list[Plot]:
    """The t-SNE of each encoder, if the runs kept features; it takes seconds per panel.

    Of each method that the other figures show, the run with the least seed that all have.
    """
    drawn = choose(summary)
    seeds = set.intersection(*(set(group.seeds) for group in drawn.groups))
    if not seeds:
        return []
    runs = [run for group in drawn.groups for run in group.runs if run.seed == min(seeds)]
    features = [_features(run) for run in runs]
    most = max((len(each.label) for each in features if isinstance(each, Features)), default=0)
    if not most:
        return []
    return [
        Plot(
            "tsne",
            f"t-SNE of the encoders' features, seed {min(seeds)}",
            f"Features of {most} test samples (the same for every method) after the last epoch, "
            f"coloured by their true class; scikit-learn's t-SNE with perplexity {PERPLEXITY} and "
            "a fixed seed. Which samples are neighbours has a meaning; axes, the size of a cluster "
            "and the distance between two have none. The probe is the test accuracy of a linear "
            "classifier on all these features: trust it over the picture.",
            lambda: embedding(drawn, runs, features),
        )
    ]


def embedding(drawn: Drawn, runs: list[Run], features: list[Features | str]) -> Figure:
    """A row per modality, a column per method."""
    figure, axes = style.panels(len(drawn.modalities), len(runs), height=3.0, share=False)
    names: tuple[str, ...] = ()
    for column, (group, run, found) in enumerate(zip(drawn.groups, runs, features, strict=True)):
        axes[0, column].set_title(style.wrapped(group.title))
        for row, modality in enumerate(drawn.modalities):
            panel = axes[row, column]
            panel.set(xticks=[], yticks=[])
            panel.spines[["left", "bottom"]].set_visible(False)
            if column == 0:
                panel.set_ylabel(f"{modality} encoder")
            probe = run.value("last", f"probe_{modality}")
            of = measure(run.metric)
            unit = " %" if of.share else f" ({of.title})"
            panel.set_xlabel("" if probe is None else f"probe {of.text(probe)}{unit}")
            if isinstance(found, str) or modality not in found.values:
                said = found if isinstance(found, str) else NOTHING_KEPT
                panel.text(0.5, 0.5, style.wrapped(said), transform=panel.transAxes, ha="center")
                continue
            names = max(names, found.class_names, key=len)
            _scatter(panel, found.values[modality], found.label)
    _legend(figure, names)
    return figure


def _features(run: Run) -> Features | str:
    """The features of a run, or why there are none to draw."""
    try:
        return run.features() or NOTHING_KEPT
    except FolderError as error:
        return str(error)


def project(values: NDArray[np.floating[Any]]) -> NDArray[np.float64] | None:
    """Features ``(N, D)`` to points ``(N, 2)``; ``None`` where nothing can be shown.

    Nothing can where features are not finite, all equal (a dead encoder), or of fewer than four
    samples.
    """
    from sklearn.manifold import TSNE

    values = values.astype(np.float64)
    if len(values) < 4 or not np.isfinite(values).all() or not values.std(axis=0).any():
        return None
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    tsne = TSNE(perplexity=perplexity, init="pca", learning_rate="auto", random_state=0)
    return np.asarray(tsne.fit_transform(values), np.float64)


def _scatter(panel: Axes, values: NDArray[Any], label: NDArray[Any]) -> None:
    points = project(values)
    if points is None:
        panel.text(
            0.5, 0.5, "features all equal\nor not finite", transform=panel.transAxes, ha="center"
        )
        return
    for index in np.unique(label):
        colour, marker = _class_style(int(index))
        x, y = points[label == index].T
        panel.scatter(x, y, s=9, color=colour, marker=marker, alpha=0.8, linewidth=0)


def _legend(figure: Figure, names: tuple[str, ...]) -> None:
    if not names:
        return
    styles = [_class_style(index) for index in range(len(names))]
    handles = [Line2D([], [], color=c, marker=m, linestyle="", ms=5) for c, m in styles]
    columns = max(1, int(figure.get_figwidth() / (max(map(len, names)) / 12 + 0.7)))
    figure.set_figheight(figure.get_figheight() + 0.2 * -(-len(names) // columns))
    style.legend_below(figure, handles, names)


def _class_style(index: int) -> tuple[str, str]:
    # Colours first; more classes than colours differ by marker too.
    turn, colour = divmod(index, len(CLASS_COLOURS))
    return CLASS_COLOURS[colour], CLASS_MARKERS[turn % len(CLASS_MARKERS)]
