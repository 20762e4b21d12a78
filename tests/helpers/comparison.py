"""Whether two trainings were the same."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

QUANTITIES = ("trace", "change", "score", "gap", "alpha", "pull", "penalty")


def assert_close(ours: Mapping[str, Any], theirs: Mapping[str, Any], atol: float = 1e-10) -> None:
    """Every weight of every epoch, every decision and every number of the history."""
    assert_close_weights(ours["weights"], theirs["weights"], atol)
    for mine, reference in zip(ours["history"], theirs["history"], strict=True):
        assert mine["in_window"] == reference["in_window"]
        for quantity in QUANTITIES:
            for modality, value in reference[quantity].items():
                expected = value if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)
                assert mine[quantity][modality] == expected, (quantity, modality)


def assert_close_weights(
    ours: list[dict[str, Tensor]], theirs: list[dict[str, Tensor]], atol: float = 1e-10
) -> None:
    """Epoch by epoch."""
    assert len(ours) == len(theirs) > 0
    for epoch, (mine, reference) in enumerate(zip(ours, theirs, strict=True)):
        for name in reference:
            torch.testing.assert_close(
                mine[name],
                reference[name],
                rtol=0,
                atol=atol,
                msg=lambda text, where=(epoch, name): f"{where}: {text}",
            )


def assert_opens_and_closes(history: list[dict[str, Any]]) -> None:
    decisions = [entry["in_window"]["audio"] for entry in history]
    assert True in decisions, "the window must open ..."
    assert False in decisions[decisions.index(True) :], "... and close again"
