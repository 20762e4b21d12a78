"""Diagnose the worlds as a user would, and hold what is said against what is true."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F

from inforeg_lightning.diagnosis import STATES, UNCLEAR, Thresholds, diagnose
from inforeg_lightning.diagnosis.intervals import Estimate
from inforeg_lightning.diagnosis.measures import measure
from inforeg_lightning.diagnosis.report import Diagnosis, plain_evidence
from inforeg_lightning.diagnosis.rules import Evidence, state_of, verdict_of
from running.truth.families import FRESH, all_worlds
from running.truth.networks import Network, runs_of
from running.truth.oracle import answer as answer_of
from running.truth.oracle import measure as measure_world
from running.truth.real import RealWorld
from running.truth.worlds import Batch, World

SEEDS = (0, 1, 2, 3, 4)
_BLAMED = "healthy modalities called starved, by what is true of their model"
_EVERY = 10
"""After so many worlds what was found is kept."""


class WorldModule(L.LightningModule):
    """The network of a world, trained as its user trains it."""

    def __init__(self, world: World | RealWorld) -> None:
        super().__init__()
        self.network, self.lr = Network(world), world.lr

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Cross-entropy of the fused logits."""
        return F.cross_entropy(self.network(batch), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As the oracle's."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, weight_decay=1e-4)


class Batches:
    """A loader of tensors: slices of them, which is faster than samples one by one.

    Args:
        data: Modality and ``"label"`` -> samples.
        shuffle: Whether each pass has an order of its own.
    """

    def __init__(self, data: Batch, shuffle: bool) -> None:
        self.data, self.shuffle = data, shuffle

    def __len__(self) -> int:
        return -(-len(self.data["label"]) // 64)

    def __iter__(self) -> Iterator[Batch]:
        samples = len(self.data["label"])
        order = torch.randperm(samples) if self.shuffle else torch.arange(samples)
        for rows in order.split(64):
            yield {name: x[rows] for name, x in self.data.items()}


def examine(world: World | RealWorld, seeds: Sequence[int] = SEEDS) -> Diagnosis:
    """The diagnosis of a world, from as many samples as its user has."""
    data = world.draw(0)
    return diagnose(
        lambda: WorldModule(world),
        *(Batches(data[split], split == "train") for split in ("train", "validation", "test")),
        encoders={m: f"network.encoders.{m}" for m in world.sources},
        head="network.head",
        max_epochs=world.epochs,
        seeds=seeds,
        trainer={"accelerator": "cpu"},
        threads=1,
        progress=False,
    )


def examine_by_name(names: Sequence[str], out: Path | None) -> int:
    """Print the diagnosis of some worlds, by the Trainer as a user's is.

    Args:
        names: Of the worlds.
        out: File to keep them in, as JSON.

    Returns:
        1 where there is no such world, else 0.
    """
    known = {world.name: world for world in all_worlds()}
    if unknown := [name for name in names if name not in known]:
        print(f"there is no world {unknown[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 1
    found = {name: examine(known[name]) for name in names}
    for name, diagnosis in found.items():
        print(f"{name}\n{diagnosis}\n")
    if out is not None:
        content = {name: diagnosis.to_dict() for name, diagnosis in found.items()}
        out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 0


def judged(evidence: Mapping[str, Any], at: Thresholds) -> tuple[str, dict[str, str]]:
    """Verdict and states that kept evidence leads to, so that rules can be tried without training.

    Args:
        evidence: As a diagnosis writes it.
        at: Thresholds.
    """
    found = evidence_of(evidence)
    states = {m: state_of(found, m, at) for m in found.drop}
    return verdict_of(found, states, at), states


def evidence_of(content: Mapping[str, Any]) -> Evidence:
    """Evidence from plain data: lists of value, low and high."""

    def one(x: Any) -> Estimate | None:
        return None if x is None else Estimate(*x)

    return Evidence(
        *({m: one(x) for m, x in content[k].items()} for k in ("over_chance", "drop", "probe")),
        one(content["gain"]),
        content["best"],
        one(content["table"]),
    )


def confusion(pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Truth -> what was said -> how often."""
    return {
        truth: {said: sum(pair == (truth, said) for pair in pairs) for said in STATES}
        for truth in STATES
        if any(pair[0] == truth for pair in pairs)
    }


def summary(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """How often a diagnosis was right, and what it says of what does not suffer."""
    others = [said for truth, said in pairs if truth != "starved"]
    healthy = [said for truth, said in pairs if truth == "healthy"]
    return {
        "worlds": len(pairs),
        "right": sum(truth == said for truth, said in pairs),
        "cannot tell": sum(said == UNCLEAR for _, said in pairs),
        "starved, said of a healthy model": [healthy.count("starved"), len(healthy)],
        "starved, said of any that is not": [others.count("starved"), len(others)],
        "confusion": confusion(pairs),
    }


def complete(content: dict[str, Any], workers: int) -> Iterator[dict[str, Any]]:
    """Measure the answers and the evidence that a file of results lacks, and judge.

    Args:
        content: What the file holds.
        workers: Worlds side by side.

    Yields:
        What it should hold, now and then, and at the end.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    answers, evidence = dict(content.get("answers", {})), dict(content.get("evidence", {}))
    missing = [w for w in all_worlds() if w.name not in answers or w.name not in evidence]
    pool = Parallel(n_jobs=workers, return_as="generator")
    work = pool(delayed(_examined)(w, answers.get(w.name)) for w in missing)
    bar = tqdm(zip(missing, work, strict=True), total=len(missing), disable=not missing)
    for number, (world, (answer, found)) in enumerate(bar):
        answers[world.name], evidence[world.name] = answer, found
        if number % _EVERY == _EVERY - 1:
            yield {"answers": answers, "evidence": evidence}
    yield {"judged": judge_all(answers, evidence), "answers": answers, "evidence": evidence}


def judge_all(answers: Mapping[str, Any], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """What is right and wrong of each half, of models and of modalities."""
    at, halves = Thresholds(), {"tuned on": False, "never tuned on": True}
    left_out = sum(not answer["verdict"] for answer in answers.values())
    found: dict[str, Any] = {"worlds without a known answer, left out": left_out}
    for half, is_fresh in halves.items():
        models, modalities, wrong = [], [], {}
        blamed: Counter[str] = Counter()
        for name, answer in answers.items():
            if (int(name.rpartition("-")[2]) >= FRESH) != is_fresh or not answer["verdict"]:
                continue
            said, states = judged(evidence[name], at)
            models.append((answer["verdict"], said))
            modalities += [(t, states[m]) for m, t in answer["states"].items() if t]
            healthy = [m for m, t in answer["states"].items() if t == "healthy"]
            blamed[answer["verdict"]] += sum(states[m] == "starved" for m in healthy)
            if said != answer["verdict"]:
                wrong[name] = [answer["verdict"], said]
        found[half] = {"models": summary(models), "modalities": summary(modalities), "wrong": wrong}
        found[half][_BLAMED] = dict(sorted(blamed.items()))
    return found


def described(content: Mapping[str, Any]) -> str:
    """The confusion matrices in Markdown, as documents show them."""
    lines = []
    for half, found in content["judged"].items():
        if not isinstance(found, Mapping):
            lines += [f"{half}: {found}", ""]
            continue
        for of in ("models", "modalities"):
            here = found[of]
            share = 100 * here["right"] / max(here["worlds"], 1)
            lines += [
                f"{of}, {half}: {here['right']} of {here['worlds']} right ({share:.1f} %)",
                "",
            ]
            for question in ("healthy model", "any that is not"):
                key = next(k for k in here if k.endswith(question))
                lines.append(f"{key}: {here[key][0]} of {here[key][1]}")
            lines += ["", "| truth | " + " | ".join(STATES) + " |", "|---" * 6 + "|"]
            for truth, row in here["confusion"].items():
                lines.append("| " + " | ".join([truth, *(str(row[s]) for s in STATES)]) + " |")
            lines.append("")
        said = ", ".join(f"{truth} {count}" for truth, count in found[_BLAMED].items())
        lines += [f"{_BLAMED}: {said}", ""]
    return "\n".join(lines)


def _examined(world: World, answer: Mapping[str, Any] | None) -> tuple[Any, Any]:
    """The answer, unless it is known, and the evidence of the diagnosis."""
    torch.set_num_threads(1)
    if answer is None:
        truth = answer_of(measure_world(world), tuple(world.sources))
        answer = {**asdict(truth), "states": dict(truth.states)}
    found = measure(runs_of(world, SEEDS), [*world.sources])
    return answer, plain_evidence(found.evidence)
