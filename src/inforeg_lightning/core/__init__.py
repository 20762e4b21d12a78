"""The equations of every method on plain tensors and numbers: the functional API.

Imports torch only. One file per method; what is not named here is private.
"""

from inforeg_lightning.core.agm import agm_coefficients, agm_ratios, shapley_outputs
from inforeg_lightning.core.auto_balance import (
    joint_factors,
    residual_norms,
    shared_progress,
    signal_share,
)
from inforeg_lightning.core.dgl import disentangled_logits
from inforeg_lightning.core.fisher import mean_square, relative_change, squared_norm
from inforeg_lightning.core.gblending import blending_weights
from inforeg_lightning.core.greedy import Balance
from inforeg_lightning.core.mmpareto import pareto_gradients, pareto_weight
from inforeg_lightning.core.ogm import discrepancy_ratios, gradient_noise, ogm_coefficients
from inforeg_lightning.core.pmr import (
    blend_prototypes,
    class_totals,
    pmr_coefficients,
    prototype_log_probabilities,
)
from inforeg_lightning.core.regulation import pull
from inforeg_lightning.core.scores import (
    binary_log_probability,
    linear_unimodal_logits,
    log_probability,
    negative_squared_error,
    probability,
)
from inforeg_lightning.core.strength import gaps, official_strength, strength
from inforeg_lightning.core.window import (
    AdaptiveWindow,
    OfficialWindow,
    OutsideWindow,
    PaperWindow,
    RangeWindow,
    make_window,
)

__all__ = [
    "AdaptiveWindow",
    "Balance",
    "OfficialWindow",
    "OutsideWindow",
    "PaperWindow",
    "RangeWindow",
    "agm_coefficients",
    "agm_ratios",
    "binary_log_probability",
    "blend_prototypes",
    "blending_weights",
    "class_totals",
    "discrepancy_ratios",
    "disentangled_logits",
    "gaps",
    "gradient_noise",
    "joint_factors",
    "linear_unimodal_logits",
    "log_probability",
    "make_window",
    "mean_square",
    "negative_squared_error",
    "official_strength",
    "ogm_coefficients",
    "pareto_gradients",
    "pareto_weight",
    "pmr_coefficients",
    "probability",
    "prototype_log_probabilities",
    "pull",
    "relative_change",
    "residual_norms",
    "shapley_outputs",
    "shared_progress",
    "signal_share",
    "squared_norm",
    "strength",
]
