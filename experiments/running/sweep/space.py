"""What a sweep searches: the overrides that are sweeps in Hydra's grammar, as Optuna has them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException

from running.errors import RecipeError

Params = dict[str, Any]
"""Key of an override -> text of a choice, or a number of an interval."""


@dataclass(frozen=True)
class Searched:
    """A parameter that is searched.

    Attributes:
        key: Of its override.
        choices: As they are written on the command line; empty for an interval.
        low: Of the interval.
        high: Of the interval.
        is_log: Whether the interval is searched on a logarithmic scale.
    """

    key: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    is_log: bool = False

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition(".")[2].lstrip("+")

    def distribution(self) -> Any:
        """As Optuna's samplers have it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        return FloatDistribution(self.low, self.high, log=self.is_log)


def split(overrides: Sequence[str]) -> tuple[list[str], list[Searched]]:
    """Overrides of every run, and those that are searched.

    Args:
        overrides: ``K=0.02,0.04`` and ``choice(...)`` and ``range(...)`` are choices,
            ``interval(0.1,1)`` is an interval, ``tag(log,interval(0.001,1))`` one on a logarithmic
            scale.

    Raises:
        RecipeError: Nothing is searched, or an override is none.
    """
    try:
        parsed = OverridesParser.create().parse_overrides([*overrides])
    except HydraException as error:
        raise RecipeError(" ".join(str(error).split())) from None
    fixed = [text for text, of in zip(overrides, parsed, strict=True) if not of.is_sweep_override()]
    searched = [_searched(of) for of in parsed if of.is_sweep_override()]
    if not searched:
        raise RecipeError(
            "a sweep searches at least one override: give several values, "
            "callbacks.inforeg.beta=0.5,0.9, or an interval, 'callbacks.inforeg.K=interval(0,0.1)'"
        )
    return fixed, searched


def grid(searched: Sequence[Searched]) -> Iterator[Params] | None:
    """Every point, where all are choices; ``None`` where one is an interval."""
    if not all(of.choices for of in searched):
        return None
    keys = [of.key for of in searched]
    return (
        dict(zip(keys, values, strict=True)) for values in product(*(s.choices for s in searched))
    )


def overrides_of(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The overrides of a point; numbers of an interval with six digits, that folders have names."""
    return tuple(
        f"{key}={value:.6g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in params.items()
    )


def _searched(override: Override) -> Searched:
    key = override.input_line.partition("=")[0] if override.input_line else override.key_or_group
    value = override.value()
    if isinstance(value, IntervalSweep):
        if not value.start < value.end:
            raise RecipeError(f"{override.input_line}: an interval goes up, (LOW, HIGH)")
        is_log = "log" in value.tags
        if is_log and value.start <= 0:
            raise RecipeError(f"{override.input_line}: a logarithmic interval begins above 0")
        return Searched(key, (), float(value.start), float(value.end), is_log)
    return Searched(key, tuple(map(str, override.sweep_string_iterator())))
