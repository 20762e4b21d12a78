"""Greedy: balanced learning by the conditional learning speed (ICML 2022, arXiv 2202.05306)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.core.fisher import squared_norm
from inforeg_lightning.core.greedy import relative_square
from inforeg_lightning.core.window import Window
from inforeg_lightning.engine.book.state import Lifetime, moved
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import (
    check_count,
    check_number,
    check_one_optimizer,
    check_unsharded,
    resolve,
    shown,
)
from inforeg_lightning.engine.context import Context
from inforeg_lightning.engine.encoder import gradients_of
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.methods._hook import Hook
from inforeg_lightning.methods._running_mean import RunningMeans
from inforeg_lightning.methods._speeds import as_vector, next_balance

_EXAMPLE = "inforeg_lightning.models.MMTM is an example"


class Greedy(Method):
    """Cut the branch that lags off from what the others tell it (Wu et al., ICML 2022).

    See :class:`~inforeg_lightning.callbacks.GreedyCallback` for the equations, for what a gating
    module is, and for what ``history`` holds.

    Args:
        gates: Attribute path, or several, of the gating modules.
        tolerance: How far the speeds may lie apart, ``ε``, >= 0; authors' code: 0.01.
        steps: For how many steps a branch is cut off, ``Q``, > 0; authors' code: 5.
        window: When it acts; by default, as in the authors' code, after the first epoch.

    Raises:
        ValueError: An argument is out of range, or a module at ``gates`` has no gates.
        TypeError: An argument is of another kind than described.
    """

    name = "greedy"
    quantities = ("speed", "rebalanced")
    needs_scores = False

    means: RunningMeans
    balance: Mapping[str, Tensor] | None
    """The fields of a :class:`~inforeg_lightning.core.greedy.Balance`."""
    _turns: dict[str, Tensor]

    def __init__(
        self,
        gates: str | Sequence[str],
        tolerance: float = 0.01,
        steps: int = 5,
        window: WindowArgument = (1, None),
    ) -> None:
        super().__init__(window)
        paths = [gates] if isinstance(gates, str) else gates
        is_paths = isinstance(paths, Sequence) and paths
        if not is_paths or not all(isinstance(path, str) and path for path in paths):
            raise TypeError(
                "`gates` must be the attribute path of a gating module or a sequence of them, but "
                f"is {shown(gates)}; {_EXAMPLE}. A network without any trains with "
                "AlternatingGreedyCallback, another algorithm."
            )
        self.gates = tuple(paths)
        self.tolerance = check_number(
            "tolerance", tolerance, 0, float("inf"), " (the authors use 0.01)"
        )
        self.steps = check_count("steps", steps, "optimiser steps")
        self._modalities: tuple[str, ...] = ()
        self._modules: list[nn.Module] = []
        self._handles: list[RemovableHandle] = []
        self._watching = False
        self.add_state("means", RunningMeans, Lifetime.FIT, saved="always")
        self.add_state("balance", None, Lifetime.FIT, saved="always")
        self.add_state("_turns", dict, Lifetime.BATCH)

    @property
    def settings(self) -> dict[str, object]:
        """Gates, tolerance, steps and window."""
        return {
            "gates": self.gates,
            "tolerance": self.tolerance,
            "steps": self.steps,
            "window": self.window,
        }

    def make_window(self, modalities: tuple[str, ...]) -> Window:
        """The window; the modalities are known from here on."""
        self._modalities = modalities
        return super().make_window(modalities)

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Find the gating modules, and refuse several optimisers."""
        check_one_optimizer(optimizers, "Greedy")
        self._modules = [resolve(model, path, "gates") for path in self.gates]
        for path, module in zip(self.gates, self._modules, strict=True):
            found = getattr(module, "excite", None)
            has = [*found] if isinstance(found, nn.ModuleDict) else None
            if has is None or set(has) != set(self._modalities):
                raise ValueError(
                    f"`gates` names {path!r}, a {type(module).__name__}, which must have an "
                    f"attribute `excite`, an nn.ModuleDict of {[*self._modalities]}, each the "
                    "module that makes the gates of that modality, but has "
                    f"{'none' if has is None else has}; {_EXAMPLE}."
                )

    def attach(self, context: Context) -> None:
        """Watch the gates; take what a checkpoint holds to the device."""
        super().attach(context)
        check_unsharded(context.encoders, context.name)
        if self.balance is not None:
            self.balance = moved(self.balance, context.device)
        self._let_go()
        self._handles = [
            self._excite(module)[modality].register_forward_hook(
                Hook(self._see, f"{modality}/{index}"), with_kwargs=True
            )
            for index, module in enumerate(self._modules)
            for modality in self._modalities
        ]

    def detach(self) -> None:
        """Let go of the model."""
        super().detach()
        self._let_go()
        self._modules = []

    def begin_batch(self, begins_period: bool) -> None:
        """Note whose gates are to be constant in this (micro-)batch."""
        self._watching = True
        self._turns = {}
        in_window = self.context.in_window
        if self.balance is not None and any(in_window.values()):
            alone = self.balance["alone"]
            turns = (alone & as_vector(in_window, alone)).unbind()
            self._turns = dict(zip(self._modalities, turns, strict=True))

    def end_batch(self) -> None:
        """Let go of a (micro-)batch."""
        super().end_batch()
        self._watching = False

    def edit(self, step: Step) -> Done:
        """Measure the speeds, and choose whom the next steps cut off; edit nothing."""
        like = next(iter(step.squared_norms.values()))
        before, after = next_balance(
            step, self.balance, self._fusion_squares(like), self.tolerance, self.steps
        )
        self.balance = dict(vars(after))
        keys = [f"{m}/{index}" for index in range(len(self._modules)) for m in self._modalities]
        self.means.fold(keys, self.context.processes, step.finite)
        acted = before.alone & as_vector(step.in_window, before.alone)
        return {"speed": after.speeds(), "rebalanced": acted.to(like.dtype)}

    def _see(self, key: str, _: nn.Module, args: Any, kwargs: Any, gate: Tensor) -> Tensor | None:
        """Have the running mean of a gate stand in its place, where it is its branch's turn."""
        if not self._watching:
            return None
        self.means.add({key: [gate]}, {})
        turn = self._turns.get(key.rpartition("/")[0])
        if turn is None:
            return None
        (mean,) = self.means.of({key: [gate]}, with_open=True)[key]
        return torch.where(turn, mean.to(gate.dtype).expand_as(gate), gate)

    def _fusion_squares(self, like: Tensor) -> Tensor:
        """``‖g‖² / ‖w‖²`` of the parameters that lead to each modality's gates, shape ``(M,)``."""
        own = {
            m: [p for gate in self._modules for p in self._excite(gate)[m].parameters()]
            for m in self._modalities
        }
        of_one = {id(p) for parameters in own.values() for p in parameters}
        shared = [p for g in self._modules for p in g.parameters() if id(p) not in of_one]
        squares = []
        for parameters in own.values():
            held = [p for p in (*parameters, *shared) if p.grad is not None]
            square = like.new_zeros(())
            if held:
                square = relative_square(squared_norm(gradients_of(held)), squared_norm(held))
            squares.append(square.to(like.dtype))
        return torch.stack(squares)

    def _excite(self, gate: nn.Module) -> nn.ModuleDict:
        found = gate.excite
        assert isinstance(found, nn.ModuleDict)
        return found

    def _let_go(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._watching = False
