"""In-training signals that a monitor might read, tried on the worlds that rules are tuned on.

Each is a number per modality that one training gives without another run. How well it tells which
modality is starved, and which knows nothing, is the area under its ROC curve: the share of pairs of
a starved modality and one that is not that the signal puts in the right order.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

import lightning.pytorch as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from inforeg_lightning.diagnosis import SuspicionThresholds
from inforeg_lightning.diagnosis.suspicions import is_wasteful, is_weak, seen_of
from running.truth.families import FRESH, all_worlds
from running.truth.judging import Batches, WorldModule
from running.truth.monitoring import BATCHES, ROUNDS
from running.truth.tables import KEPT
from running.truth.worlds import Batch, World

TRIED = (
    "gradient SNR, unimodal",
    "gradient SNR, joint",
    "agreement with validation, unimodal",
    "agreement with validation, joint",
    "NTK trace, share of the encoder",
    "kernel alignment of the features",
)
_PROJECTIONS = 8


class Signals(L.Callback):
    """Computes all that is tried at the end of the epochs that a monitor of a world measures.

    Args:
        world: Which is trained.
        data: Its samples.
    """

    def __init__(self, world: World, data: Mapping[str, Batch]) -> None:
        self.every, self.data = max(world.epochs // ROUNDS, 1), data
        self.found: list[dict[str, dict[str, float]]] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Compute them without touching the training, nor its generator."""
        epoch = trainer.current_epoch + 1
        if epoch % self.every and epoch != trainer.max_epochs:
            return
        with torch.random.fork_rng(devices=[]):
            self.found.append(signals_of(pl_module.network, self.data))


def signals_of(network: Any, data: Mapping[str, Batch]) -> dict[str, dict[str, float]]:
    """Signal -> modality -> value, of a network as it is.

    Args:
        network: Of a world.
        data: ``"train"`` and ``"validation"``.
    """
    names = [*network.encoders]
    batches = [*islice(cycle(Batches(data["train"], False)), BATCHES)]
    found: dict[str, dict[str, float]] = {signal: {} for signal in TRIED}
    for name in names:
        parameters = [*network.encoders[name].parameters()]

        def gradient(batch: Batch, kept: str | None, of: list[Tensor] = parameters) -> Tensor:
            loss = F.cross_entropy(network(batch, kept), batch["label"])
            return torch.cat([g.flatten() for g in torch.autograd.grad(loss, of)])

        for kind, kept in (("unimodal", name), ("joint", None)):
            sides = torch.stack([gradient(batch, kept) for batch in batches])
            mean = sides.mean(dim=0)
            spread = (sides - mean).square().sum(dim=1).mean()
            found[f"gradient SNR, {kind}"][name] = float(mean.square().sum() / (spread + 1e-20))
            cosine = F.cosine_similarity(mean, gradient(data["validation"], kept), dim=0)
            found[f"agreement with validation, {kind}"][name] = float(cosine)
        with torch.no_grad():
            z = network.encoders[name](data["validation"][name])
        found[TRIED[5]][name] = alignment(z, data["validation"]["label"])
    traces = _traces(network, data["validation"], names)
    found[TRIED[4]] = {name: x / max(sum(traces.values()), 1e-20) for name, x in traces.items()}
    return found


def alignment(z: Tensor, label: Tensor) -> float:
    """Centred alignment of the kernel of features with that of the classes, from 0 to 1.

    The kernel of the features is the neural tangent kernel of a last layer on top of them.
    """
    y = F.one_hot(label).to(z.dtype)
    z, y = z - z.mean(dim=0), y - y.mean(dim=0)
    scale = torch.linalg.matrix_norm(z.T @ z) * torch.linalg.matrix_norm(y.T @ y)
    return float((z.T @ y).square().sum() / (scale + 1e-20))


def _traces(network: Any, batch: Batch, names: Sequence[str]) -> dict[str, float]:
    """Trace of the tangent kernel of the fused logits, per encoder, by random projections."""
    generator = torch.Generator().manual_seed(0)
    parameters = {name: [*network.encoders[name].parameters()] for name in names}
    traces = dict.fromkeys(names, 0.0)
    for _ in range(_PROJECTIONS):
        logits = network(batch)
        sign = torch.randint(2, logits.shape, generator=generator) * 2.0 - 1.0
        flat = [p for of in parameters.values() for p in of]
        gradients = iter(torch.autograd.grad((sign * logits).sum(), flat))
        for name, of in parameters.items():
            traces[name] += sum(float(next(gradients).square().sum()) for _ in of)
    return traces


def watch(world: World) -> list[dict[str, dict[str, float]]]:
    """The signals of one training of a world, per measured epoch."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    data = world.draw(0)
    callback = Signals(world, data)
    quiet = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    trainer = L.Trainer(
        max_epochs=world.epochs,
        callbacks=[callback],
        accelerator="cpu",
        **dict.fromkeys(quiet, False),
    )
    trainer.fit(WorldModule(world), Batches(data["train"], True))
    return [
        {signal: {m: round(x, 5) for m, x in of.items()} for signal, of in entry.items()}
        for entry in callback.found
    ]


def complete(
    content: Mapping[str, Any], answers: Mapping[str, Any], seen: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Watch the worlds that a file of results lacks, and compare the signals.

    Args:
        content: What the file holds.
        answers: What is true of each world.
        seen: What a monitor saw of each.

    Yields:
        What it should hold, now and then, and at the end.
    """
    found = dict(content.get("signals", {}))
    for world in all_worlds():
        if world.number < FRESH and answers[world.name]["verdict"] and world.name not in found:
            found[world.name] = watch(world)
            if len(found) % 20 == 0:
                yield {"signals": found}
    yield {"compared": compare(found, answers, seen), "signals": found}


def compare(
    signals: Mapping[str, Any], answers: Mapping[str, Any], seen: Mapping[str, Any]
) -> dict[str, Any]:
    """How well each signal tells what is true, in the first and in the last measured epoch.

    Returns:
        Signal -> areas under its ROC curve: ``"starved"`` and ``"weak by nature"`` against all
        others, and ``"starved, where held is not used"`` in those models only of which a probe of
        one encoder beats the fused model. And ``"in the rule"``: how many modalities are suspected
        rightly, of how many, if in such models the one of the most extreme signal is starved.
    """
    rows: dict[str, list[Row]] = {}
    for name, entries in signals.items():
        states = answers[name]["states"]
        read = {m: seen_of(seen[name], m) for m in states}
        is_weak_one = {m: bool(is_weak(of, SuspicionThresholds())) for m, of in read.items()}
        wasteful = bool(is_wasteful(read, SuspicionThresholds()))
        for signal in (*KEPT, *TRIED):
            values = {m: _values(signal, entries, seen[name], m) for m in states}
            last = [of[1] for m, of in values.items() if not is_weak_one[m]]
            rows.setdefault(signal, []).extend(
                Row(
                    truth,
                    wasteful,
                    is_weak_one[m],
                    values[m],
                    (values[m][1] == min(last, default=0), values[m][1] == max(last, default=0)),
                )
                for m, truth in states.items()
                if truth
            )
    return {signal: _told(of) for signal, of in rows.items()}


class Row(NamedTuple):
    """A modality, as one signal shows it.

    Attributes:
        truth: Its state.
        wasteful: Whether a probe of one encoder beats its model.
        weak: Whether it is suspected to be weak by nature.
        values: The signal in the first and in the last measured epoch.
        extreme: Whether it is least, and greatest, in its model at last.
    """

    truth: str
    wasteful: bool
    weak: bool
    values: tuple[float, float]
    extreme: tuple[bool, bool]


def _values(
    signal: str,
    entries: Sequence[Mapping[str, Any]],
    seen: Sequence[Mapping[str, Any]],
    modality: str,
) -> tuple[float, float]:
    """A signal in the first and in the last measured epoch."""
    if signal in TRIED:
        return entries[0][signal][modality], entries[-1][signal][modality]
    quantity, _, reference = signal.partition(" − ")
    found = []
    for entry in (seen[0], seen[-1]):
        value = entry[quantity][modality] or 0.0
        found.append(value - entry[reference.replace(" ", "_")] if reference else value)
    return found[0], found[1]


def _told(rows: Sequence[Row]) -> dict[str, list[float]]:
    asked = {
        "starved": (rows, "starved"),
        "starved, where held is not used": ([r for r in rows if r.wasteful], "starved"),
        "weak by nature": (rows, "weak by nature"),
    }
    found: dict[str, list[float]] = {}
    for name, (among, word) in asked.items():
        found[name] = []
        for end in (0, 1):
            positive = [row.values[end] for row in among if row.truth == word]
            others = [row.values[end] for row in among if row.truth != word]
            found[name].append(round(area(positive, others), 3))
    says_high = found["starved, where held is not used"][1] > 0.5
    right = 0
    for row in rows:
        starved = row.wasteful and row.extreme[says_high]
        said = "weak by nature" if row.weak else "starved" if starved else "healthy"
        right += said == row.truth
    found["in the rule"] = [right, len(rows)]
    return found


def area(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The share of pairs in which the positive is larger, ties counted half."""
    x, y = np.array(positive)[:, None], np.array(negative)[None, :]
    return float(((x > y) + 0.5 * (x == y)).mean())
