"""MSLR: modality-specific learning rates (Findings of ACL 2022)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.core._dtensor import local_parts
from inforeg_lightning.core.window import Window
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_number, shown
from inforeg_lightning.engine.context import Context
from inforeg_lightning.engine.method import Method, WindowArgument

Rates = Mapping[str, float] | Sequence[float]


class MSLR(Method):
    """Give each encoder a learning rate of its own (Yao and Mihalcea, Findings of ACL 2022).

    See :class:`~inforeg_lightning.callbacks.MSLRCallback` for the equations, and for what
    ``history`` holds.

    Args:
        rates: Factor of the learning rate of each modality, >= 0: by name, in the order of
            ``encoders``, or a callable that is asked at the start of each period and is given the
            Trainer (in Lightning) or the Regulator (elsewhere), such as
            :class:`~inforeg_lightning.methods.KeepRates`. If it has a ``state_dict`` and a
            ``load_state_dict``, it is saved and resumed.
        window: When it acts; the paper: always.

    Raises:
        ValueError: ``rates`` is missing, out of range or of other modalities; the optimiser is
            LBFGS, whose steps are searched for.
        TypeError: A rate is no number.
    """

    name = "mslr"
    quantities = ("rate",)
    needs_scores = False

    _factors: dict[str, float]
    _strategy: Mapping[str, Any] | None
    """State of ``rates`` where it has one; ``None`` before it was first asked."""

    def __init__(
        self,
        rates: Rates | Callable[[Any], Rates] | None = None,
        window: WindowArgument = "always",
    ) -> None:
        super().__init__(window)
        self.rates = rates
        self._modalities: tuple[str, ...] = ()
        self._pending: dict[int, RemovableHandle] = {}
        self.add_state("_factors", dict, Lifetime.PERIOD, saved="inside")
        self.add_state("_strategy", None, Lifetime.FIT, saved="always")
        self._fresh = _state_of(rates)

    @property
    def settings(self) -> dict[str, object]:
        """Rates and window."""
        return {"rates": self.rates, "window": self.window}

    def make_window(self, modalities: tuple[str, ...]) -> Window:
        """The window; the rates are checked here, now that the modalities are known."""
        self._modalities = modalities
        if not callable(self.rates):
            _check(self.rates, modalities)
        return super().make_window(modalities)

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Refuse an optimiser whose steps have no rate."""
        if any(isinstance(optimizer, LBFGS) for optimizer in optimizers):
            raise ValueError(
                "MSLR cannot scale the steps of LBFGS, which searches for their length. Use "
                "another optimiser."
            )

    def attach(self, context: Context) -> None:
        """Have a strategy with a state go on from a checkpoint, or begin afresh."""
        super().attach(context)
        state = self._fresh if self._strategy is None else self._strategy
        if state is not None:
            self.rates.load_state_dict(state)  # type: ignore[union-attr]

    def detach(self) -> None:
        """Leave out the steps that were begun."""
        super().detach()
        for handle in self._pending.values():
            handle.remove()
        self._pending.clear()

    def begin_batch(self, begins_period: bool) -> None:
        """Ask for the rates at the first batch of a period, or after a resume."""
        if begins_period or not self._factors:
            rates = self.rates(self.context.host) if callable(self.rates) else self.rates
            self._factors = _check(rates, self._modalities)
            self._strategy = _state_of(self.rates)

    def edit(self, step: Step) -> Done:
        """Begin a step that is scaled once the optimiser has made it."""
        one = torch.ones_like(next(iter(step.squared_norms.values())))
        used = dict.fromkeys(step.modalities, one)
        self._forget_pending(step.optimizer)  # of a step that a gradient scaler has left out
        begun: list[tuple[list[Tensor], list[Tensor], Tensor]] = []
        for modality, held in step.held.items():
            factor = self._factors[modality] if step.in_window[modality] else 1.0
            if factor != 1:
                weights = local_parts([p.detach() for p in held])
                rate = torch.where(step.finite, torch.full_like(one, factor), 1.0)
                begun.append((weights, [w.clone() for w in weights], rate))
                used[modality] = rate
        if begun:
            self._pending[id(step.optimizer)] = step.optimizer.register_step_post_hook(
                lambda optimizer, *_: self._finish(optimizer, begun)
            )
        return {"rate": used}

    def _finish(
        self, optimizer: Optimizer, begun: list[tuple[list[Tensor], list[Tensor], Tensor]]
    ) -> None:
        """Go back from where the optimiser went to ``r`` times as far."""
        self._forget_pending(optimizer)
        for weights, before, rate in begun:
            back = torch._foreach_sub(before, weights)
            torch._foreach_mul_(back, (1 - rate).to(weights[0].dtype))
            torch._foreach_add_(weights, back)

    def _forget_pending(self, optimizer: Optimizer) -> None:
        handle = self._pending.pop(id(optimizer), None)
        if handle is not None:
            handle.remove()


def _state_of(rates: object) -> Mapping[str, Any] | None:
    state: Mapping[str, Any] | None = getattr(rates, "state_dict", lambda: None)()
    return state


def _check(rates: Rates | None, modalities: Sequence[str]) -> dict[str, float]:
    """A factor for each modality."""
    if isinstance(rates, Mapping):
        named = dict(rates)
    elif isinstance(rates, Sequence) and len(rates) == len(modalities):
        named = dict(zip(modalities, rates, strict=True))
    else:
        raise ValueError(
            f"`rates` must give a factor of the learning rate for each of {[*modalities]}, as a "
            f"mapping or a sequence, but is {shown(rates)}"
        )
    for modality in named:
        if modality not in modalities:
            raise ValueError(f"`rates` names {modality!r}, but the encoders are {[*modalities]}")
    return {m: check_number(f"rates[{m!r}]", named.get(m, 1.0), 0, 1e9) for m in modalities}
