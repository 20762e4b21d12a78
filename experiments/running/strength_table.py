"""What the study of strengths found, as Markdown."""

from collections.abc import Mapping
from typing import Any

PAPER = "β = 0.9"
_HEAD = ("setting", "mean gain", "lowest gain", "mean regret", "worst regret", "holds in")


def strength_table(content: Mapping[str, Any]) -> str:
    """A table per optimizer, and one for both.

    Args:
        content: Of ``experiments/results/strength.json``.
    """
    lines: list[str] = []
    for group, settings in content["judged"].items():
        lines += [
            f"{'SGD and AdamW' if group == 'both' else group}:",
            "",
            f"| {' | '.join(_HEAD)} |",
            "|---" + "|---:" * (len(_HEAD) - 1) + "|",
            *(_row(name, of) for name, of in settings.items()),
            "",
        ]
    found = [
        f"{group.replace('both', 'both together')}: {', '.join(steadier(settings)) or 'none'}"
        for group, settings in content["judged"].items()
    ]
    lines.append(f"By the protocol's rule, one setting holds where {PAPER} does not:")
    return "\n".join([*lines, f"{'; '.join(found)}."])


def steadier(settings: Mapping[str, Mapping[str, float]]) -> list[str]:
    """The settings whose regrets, in the mean and at worst, are at most half of the paper's."""
    keys = ("mean regret", "worst regret")
    fixed = settings[PAPER]
    return [
        name
        for name, of in settings.items()
        if name != PAPER and all(of[key] <= fixed[key] / 2 for key in keys)
    ]


def _row(name: str, of: Mapping[str, Any]) -> str:
    gains = (f"{of[key]:+.1f}".replace("-", "−") for key in ("mean gain", "lowest gain"))
    regrets = (f"{of[key]:.1f}" for key in ("mean regret", "worst regret"))
    cells = [name, *gains, *regrets, f"{of['holds']} of {of['of']}"]
    return f"| {' | '.join(cells)} |"
