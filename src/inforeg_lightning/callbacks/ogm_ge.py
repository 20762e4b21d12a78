"""OGM-GE: on-the-fly gradient modulation with generalisation enhancement (CVPR 2022)."""

from collections.abc import Mapping, Sequence

from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.probe.target import Present, Target
from inforeg_lightning.methods.ogm_ge import OGMGE


class OGMGECallback(MethodCallback):
    r"""OGM and noise that makes up for what it takes from the gradients (Peng et al., CVPR 2022).

    .. math:: g_m \leftarrow k_m g_m + h_m, \qquad h_m \sim N(0, \Sigma_m)

    with :math:`k_m` as of :class:`OGMCallback` and :math:`\Sigma_m` the variance of the gradient
    before it is scaled (Eq. 12): as in the authors' code, that of the elements of each parameter's
    gradient, 1e-8 added to its deviation, for all modalities whether or not they are scaled. With
    ``parameters="convolutions"`` the others get neither factor nor noise.

    No extra pass; two copies of one encoder's gradients while they are edited.

    The noise is the same on all processes, is drawn from a generator of its own, seeded anew for
    each step from ``torch.initial_seed()`` at the start of training, and so goes on after a resume
    as it would have. Parameters of one element, whose gradient has no variance, get none. Sharded
    parameters (FSDP2) are refused.

    Args and attributes are those of :class:`OGMCallback`; logged under ``ogm_ge/…``.
    """

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        *,
        target: Target = None,
        alpha: float = 0.1,
        window: WindowArgument = "always",
        parameters: str = "all",
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        combine: bool = False,
    ) -> None:
        super().__init__(
            OGMGE(alpha, window, parameters),
            encoders,
            head,
            target=target,
            present=present,
            ignore_index=ignore_index,
            period=period,
            combine=combine,
        )
