"""InfoReg: adaptive unimodal regulation (CVPR 2025, arXiv 2503.18595), as the paper has it."""

import numbers
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.core.regulation import pull
from inforeg_lightning.core.scores import ScoreFunction
from inforeg_lightning.core.strength import GAPS, gaps, strength
from inforeg_lightning.core.window import Window, make_window
from inforeg_lightning.engine.book.history import Entry
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_number
from inforeg_lightning.engine.context import Context
from inforeg_lightning.engine.encoder import Encoder
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.methods._anchors import Anchors, anchors_of, placed
from inforeg_lightning.methods._free_run import FreeRun


class InfoReg(Method):
    r"""Pull the encoders of the stronger modalities back, while their window is open.

    .. math:: g_m \leftarrow g_m + \alpha_m (w_m - w_m^{t-1}), \qquad
        \alpha_m = \exp(\beta \tanh \Delta_m)

    See :class:`~inforeg_lightning.InfoRegCallback` for the equations, and for what ``history``
    holds.

    Args:
        beta: How steeply the strength grows with the gap (Eq. 16), 0 to 80; the paper's best is
            0.9.
        K: Threshold of the relative change of the trace (Eq. 11), in [0, 1); the paper's best is
            0.04.
        window: ``"paper"``, ``"official"``, ``"adaptive"``, ``"always"``, ``"outside"``,
            ``"never"``, a range of periods or a callable.
        score: ``"log_prob"`` (Eq. 8), ``"prob"``, ``"bce"``, ``"ordinal"``, ``"mse"`` or a
            callable.
        gap: Whom a modality has to lead to be held back: those ``"weaker"`` than itself (Eq. 9 and
            10), the mean of all ``"others"``, or the ``"strongest"`` of them; see
            :func:`~inforeg_lightning.core.gaps`.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of another kind than described.
    """

    name = "inforeg"
    quantities = ("gap", "alpha", "pull", "penalty")
    sums = frozenset({"pull"})

    anchors: dict[str, Anchors]
    _free_runs: dict[str, Any]

    def __init__(
        self,
        beta: float = 0.9,
        K: float = 0.04,
        window: WindowArgument = "paper",
        score: str | ScoreFunction = "log_prob",
        gap: str = "weaker",
    ) -> None:
        super().__init__(window, score)
        if gap not in GAPS:
            raise ValueError(f"`gap` must be one of {[*GAPS]}, but is {gap!r}")
        self.gap = gap
        self.beta = check_number("beta", beta, 0, 80, " (the paper searched 0.1 to 1.0)")
        self.K = float(K) if isinstance(K, numbers.Real) else K  # else the window refuses it
        self._handles: dict[int, RemovableHandle] = {}
        self.add_state("anchors", dict, Lifetime.PERIOD, saved="inside")
        self.add_state("_free_runs", dict, Lifetime.PERIOD, saved="always")

    @property
    def settings(self) -> dict[str, object]:
        """β, K, gap, window and score."""
        return {"beta": self.beta, "K": self.K, "gap": self.gap} | super().settings

    @property
    def variant(self) -> str:
        """The paper's."""
        return "paper"

    def make_window(self, modalities: tuple[str, ...]) -> Window:
        """The window, with this K if it has one."""
        return make_window(self.window, modalities=modalities, K=self.K)

    def attach(self, context: Context) -> None:
        """Take the anchors of a checkpoint to the encoders, now that these are known."""
        super().attach(context)
        self.anchors = {
            m: placed(self.anchors.get(m, {}), encoder) for m, encoder in context.encoders.items()
        }

    def detach(self) -> None:
        """Let go of the model; what would have been without the pull is kept as numbers."""
        super().detach()
        self._free_runs = {
            m: run.state_dict() if isinstance(run, FreeRun) else run
            for m, run in self._free_runs.items()
        }
        for handle in self._handles.values():
            handle.remove()
        self._handles.clear()

    def state_dict(self, inside: bool = True) -> dict[str, Any]:
        """What is saved; of a period that is over in all but name, the results alone."""
        state = super().state_dict(inside)
        if not inside:
            runs = state["_free_runs"]
            state["_free_runs"] = {m: {"ratio": run["ratio"]} for m, run in runs.items()}
        return state

    def strengths(self, scores: Tensor) -> Tensor:
        """α of each modality, shape ``(M,)`` (Eq. 16)."""
        return strength(gaps(scores, self.gap), self.beta)

    def edit(self, step: Step) -> Done:
        """Pull the encoders in their window (Eq. 12)."""
        alphas = torch.where(step.finite, self.strengths(step.scores), 0.0)
        done: dict[str, dict[str, Tensor]] = {q: {} for q in ("alpha", "pull", "penalty")}
        for modality, held in step.held.items():
            if step.in_window[modality]:
                encoder = self.context.encoders[modality]
                alpha = alphas[step.modalities.index(modality)]
                rate = encoder.pull_rate(step.optimizer)
                anchors = self.anchors.setdefault(modality, {})
                free_run = self._free_run(modality, step.optimizer, held)
                if free_run is not None:
                    free_run.before_pull()
                done["alpha"][modality] = alpha
                done["penalty"][modality] = _pull(encoder, anchors, held, alpha)
                done["pull"][modality] = alpha * (torch.nan if rate is None else rate)
                if free_run is not None:
                    free_run.after_pull()
        return {"gap": gaps(step.scores, self.gap), **done}

    def describe_period(self, entry: Entry) -> None:
        """Add how far each encoder went by how far it would have gone without the pull."""
        entry["displacement"] = dict.fromkeys(self.context.modalities)
        for modality, run in self._free_runs.items():
            # One that was saved after the last step of the period is left as it was.
            ratio = run.ratio() if isinstance(run, FreeRun) else run["ratio"]
            entry["displacement"][modality] = ratio

    def _free_run(
        self, modality: str, optimizer: Optimizer, held: Sequence[nn.Parameter]
    ) -> FreeRun | None:
        """That of the period; one that was saved goes on where it was."""
        run = self._free_runs.get(modality)
        if not isinstance(run, FreeRun):
            if not FreeRun.is_possible(optimizer, held):
                return None
            saved, run = run, FreeRun(optimizer, held)
            if saved is not None and "copy" in saved:
                run.load_state_dict(saved)
            self._free_runs[modality] = run
        if id(optimizer) not in self._handles:
            self._handles[id(optimizer)] = optimizer.register_step_post_hook(self._after_step)
        return run

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        for run in self._free_runs.values():
            if isinstance(run, FreeRun):
                run.after_step(optimizer)


def _pull(
    encoder: Encoder, anchors: Anchors, parameters: Sequence[nn.Parameter], alpha: Tensor
) -> Tensor:
    """Add the gradient of the regulation to the parameters' gradients; return the penalty."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return pull(parameters, gradients, anchors_of(encoder, anchors, parameters), alpha)
