"""The comparison of methods as Markdown, from what ``study.py comparison`` kept of it."""

from collections.abc import Mapping
from typing import Any

from running.contrasts import Contrast, contrasts, mean_ranks
from running.markdown import line, p_value, percent, plus_minus, signed

_HEAD = (
    *("row", "fused", "to joint training", "p (Holm)", "effect d_z", "mean rank", "verdict"),
    *("audio, probe", "image, probe"),
)


def comparison_table(kept: Mapping[str, Any]) -> str:
    """The table, and below it the setting that validation chose for each row.

    Args:
        kept: What ``studies/comparison.py`` keeps: rows with the test values of the same seeds.
    """
    rows: Mapping[str, Any] = kept["rows"]
    baseline = kept["baseline"]
    seeds = rows[baseline]["seeds"]
    whole = {name: row for name, row in rows.items() if row["seeds"] == seeds}
    fused = {name: _by_seed(row, "accuracy") for name, row in whole.items()}
    compared = contrasts(fused, baseline)
    ranks, friedman = mean_ranks(fused)
    order = sorted(whole, key=lambda name: (name != baseline, ranks[name]))
    lines = [
        "AV-Digits is one kind of world: the modality that is learnt fast generalises badly, the "
        "slow one well. A row's verdict is about it.",
        "",
        line(_HEAD),
        line(["---", *["---:"] * 5, "---", "---:", "---:"]),
        *(line(_cells(whole[name], compared.get(name), ranks[name])) for name in order),
        "",
        f"{len(seeds)} seeds, {len(compared)} comparisons. Fused and probes: test accuracy in %, "
        "last epoch, mean ± 95 % t interval. To joint",
        "training: paired difference in points, with intervals that hold for all rows at once "
        "(Bonferroni). p: paired t test, adjusted",
        f"by Holm's method; ranks are over the seeds (Friedman p {p_value(friedman)}).",
    ]
    if left := [row["title"] for name, row in rows.items() if name not in whole]:
        lines += ["", f"Left out, as seeds are missing: {', '.join(left)}."]
    lines += ["", "What validation chose:", "", line(["row", "setting"]), line(["---", "---"])]
    lines += [line([whole[n]["title"], _setting(whole[n])]) for n in order if whole[n]["setting"]]
    return "\n".join(lines)


def _cells(row: Mapping[str, Any], contrast: Contrast | None, rank: float) -> list[str]:
    against = ["", "", ""]
    verdict = ""
    if contrast is not None:
        against = [plus_minus(contrast.difference), p_value(contrast.p), signed(contrast.effect)]
        verdict = contrast.verdict()
    probes = [percent(row["test"].get(f"probe_{m}")) for m in ("audio", "image")]
    fused = percent(row["test"]["accuracy"])
    return [row["title"], fused, *against, f"{rank:.1f}", verdict, *probes]


def _by_seed(row: Mapping[str, Any], quantity: str) -> dict[int, float]:
    return dict(zip(row["seeds"], row["test"][quantity], strict=True))


def _setting(row: Mapping[str, Any]) -> str:
    # The first override says which row it is, and the schedule is that of all.
    shown = [o.lstrip("+") for o in row["setting"][1:] if "init.encoders" not in o]
    own = [o for o in shown if not o.startswith(("trainer.max_epochs", "model.step_size"))]
    # Of an argument that is given twice, the last holds.
    last = {k.split(".", 1)[1]: v for k, v in (o.split("=", 1) for o in own)}
    return ", ".join(f"`{key}={value}`" for key, value in last.items()) or "the recipe's, default"
