"""The rows of the claims' tables: what each run of the study is, and which claim asks for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from running.study import Job

SET_UP = ("trainer.max_epochs=8", "++model.step_size=6")
LONGER = {
    2: ("trainer.max_epochs=16", "++model.step_size=12"),
    4: ("trainer.max_epochs=32", "++model.step_size=24"),
}
FUSIONS = {"sum": "sum", "gated": "gated", "film": "FiLM"}
BETAS = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
THRESHOLDS = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1)
WEIGHTS = (0.1, 0.3)
VIEWS = ("fou", "mor", "pix")
VIEWS_AT = Path("data/multiple_features")  # where conf/data/multiple_features.yaml looks

_INFOREG, _JOINT = ("callbacks=inforeg",), ("callbacks=none",)
_STAR = ("model.unimodal_losses=true",)
# What the monitor measures belongs to why InfoReg* does not gain; it changes no weight.
_WATCHED = (
    "++callbacks.monitor._target_=inforeg_lightning.diagnosis.ModalityMonitor",
    "++callbacks.monitor.encoders=${modalities}",
    "++callbacks.monitor.head=head",
    "++callbacks.monitor.every=1",
    "++callbacks.monitor.batches=4",
)
_AUDIO_ONLY = (
    "++callbacks.inforeg.window._target_=running.claims.window.OnlyFor",
    "++callbacks.inforeg.window.modality=audio",
)


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        title: Its name for readers.
        overrides: Of its runs, as on the command line of ``train.py``.
    """

    title: str
    overrides: tuple[str, ...]

    def job(self, seed: int) -> Job:
        """Its run of a seed."""
        return Job(self.overrides, seed)


def _weighted(weight: float) -> tuple[str, ...]:
    """Unimodal losses through the shared head, beside whatever else is there."""
    return (
        "++callbacks.losses._target_=inforeg_lightning.callbacks.UnimodalLossesCallback",
        "++callbacks.losses.encoders=${modalities}",
        "++callbacks.losses.head=head",
        f"++callbacks.losses.weight={weight}",
        "++callbacks.losses.combine=true",
    )


def _three_views(*overrides: str) -> tuple[str, ...]:
    """On three of the six views; the others' encoders and names are deleted."""
    others = ("fac", "kar", "zer")
    without = [f"~{group}.{view}" for view in others for group in ("model.encoders", "modalities")]
    views = f"++data.views=[{','.join(VIEWS)}]"
    lists = ("callbacks.mslr.rates=[1,1,1]", "callbacks.pdmp.performance=[1,0,0]")
    return ("experiment=views", *overrides, views, *without, *lists)


ROWS: dict[str, Row] = {
    "joint": Row("Joint training", (*_JOINT, *SET_UP, *_WATCHED)),
    "audio": Row("Audio alone", ("only=audio", *SET_UP)),
    "image": Row("Image alone", ("only=image", *SET_UP)),
    **{
        f"joint_{times}x": Row(f"Joint training, {times} × the epochs", (*_JOINT, *set_up))
        for times, set_up in LONGER.items()
    },
    "inforeg": Row("InfoReg", (*_INFOREG, *SET_UP, *_WATCHED)),
    "joint_star": Row("Joint* (unimodal losses)", (*_JOINT, *_STAR, *SET_UP, *_WATCHED)),
    "inforeg_star": Row("InfoReg*", (*_INFOREG, *_STAR, *SET_UP, *_WATCHED)),
    "outside": Row("InfoReg outside the window", ("callbacks=inforeg_outside", *SET_UP)),
    "always": Row("InfoReg throughout", ("callbacks=inforeg_always", *SET_UP)),
    "auto_balance": Row("AutoBalance", ("callbacks=auto_balance", *SET_UP)),
    "cosines": Row(
        "Joint training, gradients of batches compared",
        (
            *(*_JOINT, *SET_UP, "~callbacks.none"),
            "++callbacks.cosines._target_=running.claims.cosines.GradientCosines",
            "++callbacks.cosines.encoders=${modalities}",
        ),
    ),
    **{
        f"{name}_{fusion}": Row(f"{title}, {of}", (*overrides, *SET_UP, f"fusion={fusion}"))
        for fusion, of in FUSIONS.items()
        for name, title, overrides in (
            ("joint", "Joint training", _JOINT),
            ("inforeg", "InfoReg", _INFOREG),
            ("joint_star", "Joint*", (*_JOINT, *_STAR)),
            ("dgl", "DGL", ("callbacks=dgl",)),
            ("auto_balance", "AutoBalance", ("callbacks=auto_balance",)),
        )
    },
    **{
        f"{name}_views": Row(f"{title}, three views", _three_views(*overrides))
        for name, title, overrides in (
            ("joint", "Joint training", _JOINT),
            ("inforeg", "InfoReg", _INFOREG),
            ("joint_star", "Joint*", (*_JOINT, *_STAR)),
            ("dgl", "DGL", ("callbacks=dgl",)),
            *((view, f"{view} alone", (f"only={view}",)) for view in VIEWS),
        )
    },
    **{
        f"joint_w{weight}": Row(
            f"Unimodal losses, weight {weight}",
            (*_JOINT, *SET_UP, *_weighted(weight), *_WATCHED),
        )
        for weight in WEIGHTS
    },
    **{
        f"inforeg_w{weight}": Row(
            f"InfoReg, unimodal losses with weight {weight}",
            (
                *(*_INFOREG, *SET_UP, "++callbacks.inforeg.combine=true"),
                *(*_weighted(weight), *_WATCHED),
            ),
        )
        for weight in WEIGHTS
    },
    "inforeg_audio": Row(
        "InfoReg that regulates the audio alone", (*_INFOREG, *SET_UP, *_AUDIO_ONLY)
    ),
    "inforeg_star_audio": Row(
        "InfoReg* that regulates the audio alone", (*_INFOREG, *_STAR, *SET_UP, *_AUDIO_ONLY)
    ),
    **{
        f"beta_{value}": Row(
            f"InfoReg, β {value}", (*_INFOREG, *SET_UP, f"callbacks.inforeg.beta={value}")
        )
        for value in BETAS
        if value != 0.9  # the default: InfoReg itself
    },
    **{
        f"K_{value}": Row(
            f"InfoReg, K {value}", (*_INFOREG, *SET_UP, f"callbacks.inforeg.K={value}")
        )
        for value in THRESHOLDS
        if value != 0.04  # likewise
    },
}


def _of(prefix: str) -> tuple[str, ...]:
    return tuple(name for name in ROWS if name.startswith(prefix))


CLAIMS: dict[str, tuple[str, ...]] = {
    "b": ("joint", "inforeg", "joint_star", "inforeg_star"),
    "a": ("joint", "audio", "image", "joint_2x", "joint_4x"),
    "c": ("joint", "inforeg", "outside", "always"),
    "g": ("cosines",),
    "h": ("joint", "inforeg"),
    "i": ("joint", "inforeg", "image"),
    "e": tuple(name for name in ROWS if name.endswith("_views")),
    "d": ("joint", "inforeg", *(f"{n}_{f}" for f in FUSIONS for n in ("joint", "inforeg"))),
    "star": (
        *("joint", "inforeg", "joint_star", "inforeg_star", "image"),
        *(*_of("joint_w"), *_of("inforeg_w"), "inforeg_audio", "inforeg_star_audio"),
    ),
    "f": ("inforeg", *_of("beta_"), *_of("K_")),
    "balance": ("auto_balance",),  # a row of the demo
    # The sceptic's rows of claim d, which is decided without them.
    "fusions": tuple(
        f"{name}_{fusion}" for fusion in FUSIONS for name in ("joint_star", "dgl", "auto_balance")
    ),
}
"""Claim -> the rows it needs, in the order in which they are trained; rows are shared."""


def jobs(claims: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """The runs of some claims, claim by claim and seed by seed, each once."""
    wanted = [
        ROWS[row].job(seed)
        for claim in claims
        for seed in seeds
        for row in CLAIMS[claim]
        if not row.endswith("_views") or VIEWS_AT.is_dir()
    ]
    return list(dict.fromkeys(wanted))
