"""Diagnosing & Re-learning: soft returns to the initial weights (ECCV 2024, arXiv 2407.09705)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.relearning import ReLearning


class ReLearningCallback(MethodCallback):
    r"""Return encoders to their initial weights by how much they overfit (Wei et al., ECCV 2024).

    .. math:: w_m \leftarrow (1 - \alpha_m) w_m + \alpha_m w_m^{\text{init}}, \qquad
        \alpha_m = \tanh(\lambda g_m), \qquad
        g_m = \lvert P_m^{\text{train}} - P_m^{\text{val}} \rvert

    at the end of a few epochs, with :math:`P_m` the purity of the features of m: the share of
    samples that are of the commonest class of their cluster, when K-means, with as many clusters as
    there are classes, has clustered the features, each dimension scaled to [-1, 1]. A modality that
    separates training samples much better than those of validation has overfitted and goes back
    far; one that is learnt little in both keeps most of what it has, and so does one whose data
    have little to tell. Parameters of encoders alone return: head, running statistics of batch
    norm, and the state of the optimiser stay, as in the authors' code.

    No extra pass through the encoders and no extra pass backward. In memory: the initial encoders,
    on the CPU (and in every checkpoint, so that a resumed training can return to them); during an
    epoch that ends with a return the features of its training and validation samples, on their
    device (and in a checkpoint inside such an epoch). K-means runs on the CPU, by scikit-learn.

    What differs from the authors' code: the features of training samples are those that the
    training steps of the epoch have seen, in training mode and while the encoders change; the
    authors pass the training set through the encoders once more after the epoch, in evaluation
    mode. Those of validation are as theirs: of the end of the epoch, in evaluation mode. M > 2 is
    the same formula.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the module that makes the logits, from whose inputs the features are
            taken; needed. The parts of a modality, whatever their shapes ``(B, ...)``, are
            flattened and concatenated to ``(B, D)``, the same D in every batch.
        target: Where the class indices ``(B,)`` stand in the batch, in training and in validation,
            as for :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
            A planned return falls out for a modality that is outside its window.
        lam: λ, >= 0. The authors' script for CREMA-D has 3 (``--move_lambda``).
        every: Epochs between two returns. The authors' 20: the first is at the end of epoch 20,
            counted from 0. A planned return waits for the next epoch that has a validation.
        times: How many returns at most; the authors' 3, in a training of 90 epochs.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
            Returns count in epochs.
        present: Where the batch says which samples have which modality, in training and in
            validation, as for :class:`~inforeg_lightning.InfoRegCallback`.
        ignore_index: The target that counts nowhere.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict per period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score`` (mean log-probability of the
            true class), and ``train_purity``, ``val_purity`` and ``strength`` (α) of a return,
            ``None`` in periods without one. Logged under ``relearning/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, there is no validation, target, features or logits
            have another shape than described, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
        ImportError: scikit-learn is not installed.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        lam: float = 3.0,
        every: int = 20,
        times: int = 3,
        window: WindowArgument = "always",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            ReLearning(lam, every, times, window),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
