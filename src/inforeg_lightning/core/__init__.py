"""The equations of every method on plain tensors and numbers: the functional API.

Imports torch only. One file per method; what is not named here is private.
"""

from inforeg_lightning.core.agm import agm_coefficients, agm_ratios, shapley_outputs
from inforeg_lightning.core.auto_balance import (
    generalisation,
    joint_factors,
    residual_norms,
    signal_share,
    withheld,
)
from inforeg_lightning.core.dgl import disentangled_logits
from inforeg_lightning.core.fisher import mean_square, relative_change, squared_norm
from inforeg_lightning.core.gblending import blending_weights
from inforeg_lightning.core.greedy import Balance
from inforeg_lightning.core.mlb import mlb_coefficients
from inforeg_lightning.core.mmpareto import pareto_gradients, pareto_weight
from inforeg_lightning.core.modality_dropout import dropped_modality, keep_one
from inforeg_lightning.core.ogm import discrepancy_ratios, gradient_noise, ogm_coefficients
from inforeg_lightning.core.opm import opm_probabilities, opm_scale
from inforeg_lightning.core.pdmp import pdmp_coefficients
from inforeg_lightning.core.pmr import (
    blend_prototypes,
    class_totals,
    pmr_binary_coefficients,
    pmr_coefficients,
    prototype_log_probabilities,
)
from inforeg_lightning.core.redreg import (
    excess_redundancy,
    feature_agreement,
    gain_growth,
    orthogonal_pull,
    redreg_strength,
)
from inforeg_lightning.core.regulation import pull
from inforeg_lightning.core.relearning import purity, return_strength, return_to
from inforeg_lightning.core.scores import (
    binary_log_probability,
    linear_unimodal_logits,
    log_probability,
    negative_squared_error,
    ordinal_levels,
    probability,
)
from inforeg_lightning.core.strength import GAPS, gaps, official_strength, strength
from inforeg_lightning.core.torchjd import aggregated
from inforeg_lightning.core.window import (
    AdaptiveWindow,
    OfficialWindow,
    OutsideWindow,
    PaperWindow,
    RangeWindow,
    make_window,
)

__all__ = [
    "GAPS",
    "AdaptiveWindow",
    "Balance",
    "OfficialWindow",
    "OutsideWindow",
    "PaperWindow",
    "RangeWindow",
    "aggregated",
    "agm_coefficients",
    "agm_ratios",
    "binary_log_probability",
    "blend_prototypes",
    "blending_weights",
    "class_totals",
    "discrepancy_ratios",
    "disentangled_logits",
    "dropped_modality",
    "excess_redundancy",
    "feature_agreement",
    "gain_growth",
    "gaps",
    "generalisation",
    "gradient_noise",
    "joint_factors",
    "keep_one",
    "linear_unimodal_logits",
    "log_probability",
    "make_window",
    "mean_square",
    "mlb_coefficients",
    "negative_squared_error",
    "official_strength",
    "ogm_coefficients",
    "opm_probabilities",
    "opm_scale",
    "ordinal_levels",
    "orthogonal_pull",
    "pareto_gradients",
    "pareto_weight",
    "pdmp_coefficients",
    "pmr_binary_coefficients",
    "pmr_coefficients",
    "probability",
    "prototype_log_probabilities",
    "pull",
    "purity",
    "redreg_strength",
    "relative_change",
    "residual_norms",
    "return_strength",
    "return_to",
    "shapley_outputs",
    "signal_share",
    "squared_norm",
    "strength",
    "withheld",
]
