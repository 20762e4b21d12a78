"""The strategies of MSLR (Findings of ACL 2022): factors of the learning rate, period by period."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from inforeg_lightning.engine.checks import check_count, check_number, shown


@dataclass(frozen=True)
class KeepRates:
    """*Keep*: each encoder has the learning rate that was best for its modality alone.

    Args:
        rates: Modality -> the learning rate that was best for it alone.
        lr: The learning rate of the module, which everything else keeps.

    Raises:
        ValueError: A rate is out of range.
        TypeError: A rate is no number, or ``rates`` no mapping.
    """

    rates: Mapping[str, float]
    lr: float

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0, 1e9, open_below=True)
        _check_rates(self.rates)

    def __call__(self, host: Any) -> dict[str, float]:
        """Modality -> factor of the module's learning rate."""
        return {modality: rate / self.lr for modality, rate in self.rates.items()}


@dataclass(frozen=True)
class SmoothRates:
    """*Smooth*: each encoder has a learning rate between its own and the common one.

    The paper smooths the rates of the modalities towards each other. How, could not be checked
    when this was written; the weighted mean with the module's rate is ours.

    Args:
        rates: Modality -> the learning rate that was best for it alone.
        lr: The learning rate of the module.
        weight: Of the modality's own rate, from 0 (the common rate) to 1 (*keep*).

    Raises:
        ValueError: An argument is out of range.
        TypeError: A rate is no number, or ``rates`` no mapping.
    """

    rates: Mapping[str, float]
    lr: float
    weight: float = 0.5

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0, 1e9, open_below=True)
        check_number("weight", self.weight, 0, 1)
        _check_rates(self.rates)

    def __call__(self, host: Any) -> dict[str, float]:
        """Modality -> factor of the module's learning rate."""
        kept = self.weight
        return {m: kept * rate / self.lr + 1 - kept for m, rate in self.rates.items()}


@dataclass
class DynamicRates:
    r"""*Dynamic*: a modality that has just improved in validation learns faster, and the reverse.

    .. math:: r_m \leftarrow r^0_m \, \frac{a_m}{\mathrm{mean}(a_m \text{ of the last } n)}

    with :math:`a_m` the accuracy of m alone in the last validation, and the mean over the n
    validations before it; :math:`r^0_m` until there are so many. So in the program of Li et al.
    (ICCV 2023, ``run/CREMAD_main.py``), with n = 5 and the initial factors 0.9 for audio and 1.1
    for video of CREMA-D; for UR-Funny 0.9 for audio, 1.4 for video and 0.7 for text.

    Made for ``period="epoch"`` and one validation per epoch: it takes note of the metrics whenever
    it is asked.

    Args:
        initial: Modality -> its factor at first, >= 0.
        metric: Name of what ``trainer.callback_metrics`` has for a modality; larger is better. The
            default is what :class:`~inforeg_lightning.models.LateFusionClassifier` logs.
        memory: How many validations are looked back on.

    Raises:
        ValueError: An argument is out of range.
        TypeError: A factor is no number, or ``initial`` no mapping.
    """

    initial: Mapping[str, float]
    metric: str = "val/accuracy_{modality}"
    memory: int = 5
    _seen: dict[str, list[float]] = field(default_factory=dict, repr=False, compare=False)
    _asked: bool = field(default=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_rates(self.initial, "initial")
        check_count("memory", self.memory, "validations")
        if "{modality}" not in self.metric:
            raise ValueError(
                "`metric` must have {modality} where the name of a modality stands, but is "
                f"{self.metric!r}"
            )

    def __call__(self, host: Any) -> dict[str, float]:
        """Modality -> factor of the module's learning rate.

        Raises:
            ValueError: There was a period before, but no such metric.
        """
        found = getattr(host, "callback_metrics", {})
        factors = {}
        for modality, initial in self.initial.items():
            name = self.metric.format(modality=modality)
            seen = self._seen.setdefault(modality, [])
            factors[modality] = float(initial)
            if name in found:
                value = float(found[name])
                if len(seen) == self.memory:
                    mean = fmean(seen)
                    factors[modality] *= value / mean if mean else 1.0
                self._seen[modality] = [*seen, value][-self.memory :]
            elif self._asked:
                raise ValueError(
                    f"DynamicRates found no metric {name!r} after the first period, only "
                    f"{sorted(found)}. Have validation_step log it, or give metric= the name of "
                    "what it logs."
                )
        self._asked = True
        return factors

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs."""
        return {"seen": {m: [*seen] for m, seen in self._seen.items()}, "asked": self._asked}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._seen = {m: [*seen] for m, seen in state["seen"].items()}
        self._asked = bool(state["asked"])


def _check_rates(rates: object, name: str = "rates") -> None:
    if not isinstance(rates, Mapping):
        raise TypeError(f"`{name}` must map each modality to a number, but is {shown(rates)}")
    for modality, rate in rates.items():
        check_number(f"{name}[{modality!r}]", rate, 0, 1e9)
