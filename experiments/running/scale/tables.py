"""What was found of many modalities, as Markdown and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from inforeg_lightning.core import GAPS
from inforeg_lightning.report import Interval, mean_interval, paired_difference
from running.contrasts import adjusted_p
from running.markdown import line
from running.scale.training import ALONE, JOINT, WINDOWS, arms

Cells = Mapping[str, Mapping[str, Any]]
BySeed = dict[int, float]


def cell_name(family: str, size: int, seed: int) -> str:
    """What a task is kept under."""
    return f"{family}, M={size}, seed={seed}" if size != ALONE else f"{family}, alone, seed={seed}"


def values(content: Mapping[str, Any], family: str, size: int, arm: str, what: str) -> BySeed:
    """Seed -> a measure of an arm, in % or points, of the seeds that have the whole task.

    Args:
        content: What ``study.py scale`` keeps.
        family: Name of the family.
        size: Number of modalities.
        arm: One of :func:`~running.scale.training.arms`.
        what: ``"accuracy"``; ``"lack"``, the mean over the modalities; or ``"imbalance"``.
    """
    if size == 2 and arm != JOINT:
        arm = f"{arm.split()[0]} {GAPS[0]}"
    found = {}
    for seed in content["seeds"]:
        cell = content["cells"].get(cell_name(family, size, seed))
        alone = content["cells"].get(cell_name(family, ALONE, seed))
        if cell is None or alone is None:
            continue
        if what == "accuracy":
            found[seed] = 100 * cell[arm]["accuracy"]
            continue
        lacks = [100 * (alone[m] - probe) for m, probe in cell[arm]["probe"].items()]
        found[seed] = fmean(lacks) if what == "lack" else max(lacks) - min(lacks)
    return found


def compared(content: Mapping[str, Any]) -> dict[str, tuple[Interval, float]]:
    """The eight comparisons of the protocol -> difference with its interval, and Holm's p."""
    found = {}
    for family, of in content["families"].items():
        sizes = [size for size in of["sizes"] if size > 2]
        for window in WINDOWS:
            paper = _over(content, family, sizes, f"{window} {GAPS[0]}")
            for gap in GAPS[1:]:
                other = _over(content, family, sizes, f"{window} {gap}")
                found[f"{family}, {_WINDOWS[window]}, {gap}"] = (other, paper)
    differences = [paired_difference(*pair) for pair in found.values()]
    ps = adjusted_p([[one[s] - two[s] for s in one] for one, two in found.values()])
    return dict(zip(found, zip(differences, ps, strict=True), strict=True))


_WINDOWS = {"paper": "inside", "always": "throughout"}


def scale_tables(content: Mapping[str, Any]) -> str:
    """Everything that ``docs/scale.md`` shows, from what ``study.py scale`` keeps."""
    lines: list[str] = []
    for family, of in content["families"].items():
        title = f"**{family.capitalize()}**, test accuracy in % of joint training"
        lines += [f"{title}, and differences to it in points, {len(content['seeds'])} seeds:", ""]
        lines += [*_accuracies(content, family, of), ""]
        lines += [
            f"**{family.capitalize()}**, what the encoders lack, in points (gaps throughout):",
            "",
        ]
        lines += [*_lacks(content, family, of), ""]
    lines += ["**What each gap would do** in joint training, mean over steps and seeds:", ""]
    lines += [*_gaps(content), ""]
    lines += ["**The comparisons of the protocol**, against the paper's gap, mean over M > 2:", ""]
    head = ("family, window, gap", "accuracy, points", "p (Holm)")
    lines += [line(head), "|---|---:|---:|"]
    for name, (difference, p) in compared(content).items():
        lines.append(line([name, _signed(difference), "< 0.001" if p < 0.001 else f"{p:.3f}"]))
    lines += ["", "**CPU time of a step** by that of a joint step, median (quartiles):", ""]
    lines += [line(("family", "M", "inside the window", "outside")), "|---|---:|---:|---:|"]
    for name, sizes in content["prices"].items():
        for size, of in sizes.items():
            cells = [f"{x[1]:.2f} ({x[0]:.2f}–{x[2]:.2f})" for x in (of["inside"], of["outside"])]
            lines.append(line([name, size, *cells]))
    return "\n".join(lines)


def _accuracies(content: Mapping[str, Any], family: str, of: Mapping[str, Any]) -> list[str]:
    names = [name for name in arms(max(of["sizes"])) if name != JOINT]
    known = of.get("bayes", {})
    head = ["M", *(["known"] if known else []), JOINT, *map(_arm_title, names)]
    lines = [line(head), line(["---:"] * len(head))]
    for size in of["sizes"]:
        joint = values(content, family, size, JOINT, "accuracy")
        cells = [str(size), *([f"{100 * known[str(size)]:.1f}"] if known else []), _plain(joint)]
        for name in names:
            repeated = size == 2 and not name.endswith(GAPS[0])
            arm = values(content, family, size, name, "accuracy")
            cells.append("" if repeated else _signed(paired_difference(arm, joint)))
        lines.append(line(cells))
    return lines


def _lacks(content: Mapping[str, Any], family: str, of: Mapping[str, Any]) -> list[str]:
    names = [JOINT, *(f"always {gap}" for gap in GAPS)]
    head = ["M", *(f"mean: {n.removeprefix('always ')}" for n in names)]
    head += [f"imbalance: {n.removeprefix('always ')}" for n in names]
    lines = [line(head), line(["---:"] * len(head))]
    for size in of["sizes"]:
        cells = [str(size)]
        for what in ("lack", "imbalance"):
            cells += [
                ""
                if size == 2 and name not in names[:2]
                else _plain(values(content, family, size, name, what))
                for name in names
            ]
        lines.append(line(cells))
    return lines


def _gaps(content: Mapping[str, Any]) -> list[str]:
    head = ["family", "M", *(f"{gap}: held back, tanh Δ, α" for gap in GAPS)]
    lines = [line(head), "|---|---:|---:|---:|---:|"]
    for family, of in content["families"].items():
        for size in of["sizes"]:
            cells = [family, str(size)]
            for gap in GAPS:
                held, tanh, alpha = gap_means(content, family, size, gap)
                cells.append(f"{100 * held:.0f} %, {tanh:.2f}, {alpha:.2f}")
            lines.append(line(cells))
    return lines


def gap_means(content: Mapping[str, Any], family: str, size: int, gap: str) -> list[float]:
    """Share that is held back, tanh Δ and α of those; means over the seeds."""
    cells = [content["cells"].get(cell_name(family, size, seed)) for seed in content["seeds"]]
    rows = [cell[JOINT]["gaps"][gap] for cell in cells if cell is not None]
    return [fmean(column) for column in zip(*rows, strict=True)][:3]


def draw(content: Mapping[str, Any], file: Path) -> None:
    """Accuracy and imbalance against M, a column per family."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    families = content["families"]
    figure, axes = plt.subplots(2, len(families), figsize=(9, 6.4), squeeze=False, sharex="col")
    colours = {JOINT: "black", GAPS[0]: "tab:red", GAPS[1]: "tab:blue", GAPS[2]: "tab:green"}
    for column, (family, of) in enumerate(families.items()):
        for row, (what, label) in enumerate(
            (("accuracy", "test accuracy, %"), ("imbalance", "imbalance, points"))
        ):
            ax = axes[row][column]
            for arm in arms(max(of["sizes"])):
                found = [mean_interval([*values(content, family, size, arm, what).values()])
                         for size in of["sizes"]]  # fmt: skip
                window, _, gap = arm.partition(" ")
                ax.errorbar(
                    of["sizes"],
                    [interval.mean for interval in found],
                    [interval.half_width or 0.0 for interval in found] if arm == JOINT else None,
                    color=colours[gap or JOINT],
                    linestyle="--" if window == "paper" else "-",
                    marker="o",
                    markersize=3,
                    capsize=2,
                    label=_arm_title(arm),
                )
            ax.set_ylabel(label)
            ax.grid(alpha=0.3)
        axes[0][column].set_title(family)
        axes[1][column].set_xlabel("modalities M")
        axes[1][column].set_xticks(of["sizes"])
    axes[0][0].legend(fontsize=7, handlelength=3.5)
    figure.tight_layout()
    figure.savefig(file, dpi=120)
    plt.close(figure)


def _over(content: Mapping[str, Any], family: str, sizes: Sequence[int], arm: str) -> BySeed:
    """Seed -> accuracy, mean over sizes, of the seeds that have all of them."""
    by_size = [values(content, family, size, arm, "accuracy") for size in sizes]
    seeds = set.intersection(*(set(of) for of in by_size))
    return {seed: fmean(of[seed] for of in by_size) for seed in sorted(seeds)}


def _arm_title(arm: str) -> str:
    window, _, gap = arm.partition(" ")
    return f"{gap}, {_WINDOWS[window]}" if gap else arm


def _plain(of: BySeed) -> str:
    found = mean_interval([*of.values()])
    return f"{found.mean:.1f} ± {found.half_width or 0.0:.1f}".replace("-", "−")


def _signed(found: Interval | None) -> str:
    if found is None:
        return "–"
    return f"{found.mean:+.1f} ± {found.half_width or 0.0:.1f}".replace("-", "−")
