"""Diagnose and watch the worlds of real data, and hold what is said against what is true."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from inforeg_lightning.diagnosis import SuspicionThresholds, Thresholds
from inforeg_lightning.diagnosis.measures import measure
from inforeg_lightning.diagnosis.report import plain_evidence
from inforeg_lightning.diagnosis.suspicions import suspect
from running.truth.judging import SEEDS, examine, judged, summary
from running.truth.monitoring import watch
from running.truth.networks import runs_of
from running.truth.oracle import answer as answer_of
from running.truth.oracle import measure as measure_world
from running.truth.real import RealWorld, real_worlds

Content = dict[str, Any]
"""``judged``, and world -> ``answers``, ``evidence`` and ``seen``."""


def complete(content: Content, folders: Mapping[str, Path], workers: int) -> Iterator[Content]:
    """Measure what a file of results lacks, and judge.

    Args:
        content: What the file holds.
        folders: Of the sets that are read from one; worlds of others are kept as they are.
        workers: Worlds side by side.

    Yields:
        What it should hold, after each world.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    answers, evidence, seen = (
        dict(content.get(name, {})) for name in ("answers", "evidence", "seen")
    )
    missing = [w for w in real_worlds(folders) if not all(w.name in x for x in (answers, seen))]
    pool = Parallel(n_jobs=workers, return_as="generator")
    work = pool(delayed(_examined)(w, answers.get(w.name)) for w in missing)
    bar = tqdm(zip(missing, work, strict=True), total=len(missing), disable=not missing)
    for world, (answer, found, history) in bar:
        answers[world.name], evidence[world.name], seen[world.name] = answer, found, history
        yield {"answers": answers, "evidence": evidence, "seen": seen}
    judgement = judge_all(answers, evidence, seen)
    yield {"judged": judgement, "answers": answers, "evidence": evidence, "seen": seen}


def judge_all(
    answers: Mapping[str, Any], evidence: Mapping[str, Any], seen: Mapping[str, Any]
) -> dict[str, Any]:
    """What is right and wrong of the diagnoses and of the suspicions, with the rules as they are.

    Returns:
        As the file of the generated worlds, with ``"diagnosis"`` and ``"suspicions"`` in the place
        of its halves, and the sets one by one beside them.
    """
    known = {name: answer for name, answer in answers.items() if answer["verdict"]}
    found: dict[str, Any] = {
        "worlds without a known answer, left out": len(answers) - len(known),
    }
    for of in ("diagnosis", "suspicions"):
        models, modalities, wrong = [], [], {}
        by_set: dict[str, list[int]] = {}
        for name, answer in known.items():
            if of == "diagnosis":
                said, states = judged(evidence[name], Thresholds())
            else:
                suspected = suspect(seen[name], [*answer["states"]], SuspicionThresholds())
                said = suspected.verdict
                states = {m: state.state for m, state in suspected.modalities.items()}
            models.append((answer["verdict"], said))
            modalities += [(t, states[m]) for m, t in answer["states"].items() if t]
            count = by_set.setdefault(name.partition(",")[0], [0, 0])
            count[0] += said == answer["verdict"]
            count[1] += 1
            if said != answer["verdict"]:
                wrong[name] = [answer["verdict"], said]
        found[of] = {
            "models": summary(models),
            "modalities": summary(modalities),
            "right by set": by_set,
            "wrong": wrong,
        }
    return found


def _examined(world: RealWorld, answer: Mapping[str, Any] | None) -> tuple[Any, Any, Any]:
    """The answer, unless it is known; the evidence of the diagnosis; what a monitor has seen."""
    torch.set_num_threads(1)
    if answer is None:
        truth = answer_of(measure_world(world), tuple(world.sources))
        answer = {**asdict(truth), "states": dict(truth.states)}
    if world.has_pictures:
        evidence = dict(examine(world).evidence)
    else:
        evidence = plain_evidence(measure(runs_of(world, SEEDS), [*world.sources]).evidence)
    return answer, evidence, watch(world)
