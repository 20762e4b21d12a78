"""All generated worlds, of two to four modalities, each a way in which fusion may go.

A world is drawn from its family and its number alone, so that anyone can make it again.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from running.truth.worlds import Source, World

NAMES = ("a", "b", "c", "d")


def _easy_hard(rng: np.random.Generator) -> World:
    easy = Source(40, rng.uniform(3.5, 6), shift=rng.uniform(1.0, 2.0))
    hard = Source(16, rng.uniform(5, 6.5), folded=True, clusters=int(rng.integers(1, 3)))
    classes = int(rng.choice([4, 6]))
    return _world({"a": easy, "b": hard}, classes=classes, train=128 * classes)


def _alike(rng: np.random.Generator) -> World:
    strength = rng.uniform(2.0, 3.5)
    return _world({m: Source(16, strength) for m in "ab"})


def _noise(rng: np.random.Generator) -> World:
    width = int(rng.choice([8, 16, 40]))
    return _world({"a": Source(16, rng.uniform(2, 4)), "b": Source(width, 0.0)})


def _much_noise(rng: np.random.Generator) -> World:
    width = int(rng.choice([200, 400, 800]))
    parts = {"a": Source(16, rng.uniform(2.2, 3.2)), "b": Source(width, 0.0)}
    return _world(parts, train=int(rng.choice([128, 192, 256])))


def _copy(rng: np.random.Generator) -> World:
    return _world({"a": Source(16, rng.uniform(2, 3.5)), "b": Source(16, copies="a")})


def _weak(rng: np.random.Generator) -> World:
    return _world({"a": Source(16, rng.uniform(3, 4)), "b": Source(16, rng.uniform(1.2, 1.8))})


def _halves(rng: np.random.Generator) -> World:
    one, other = (Source(16, rng.uniform(2.5, 4.0), shows=s) for s in ("half", "rest"))
    return _world({"a": one, "b": other})


def _together(rng: np.random.Generator) -> World:
    one, other = (Source(8, rng.uniform(5, 6), shows=s) for s in ("key", "cipher"))
    parts, classes = {"a": one, "b": other}, int(rng.choice([2, 3]))
    return _world(parts, train=1500, lr=0.05, classes=classes, deep=True)


def _overfitting(rng: np.random.Generator) -> World:
    # Much of what it shows in training is not there later: a background, say.
    wide = Source(int(rng.choice([100, 300])), rng.uniform(3, 7), shift=rng.uniform(2.5, 6))
    parts = {"a": wide, "b": Source(16, rng.uniform(2.0, 3.5))}
    return _world(parts, train=int(rng.choice([192, 320])))


def _misleading(rng: np.random.Generator) -> World:
    # It names the class in training, and nothing at all later.
    easy = Source(int(rng.choice([20, 40])), rng.uniform(2.5, 6), shift=50.0)
    return _world({"a": easy, "b": Source(16, rng.uniform(2.2, 3.5))})


def _three(rng: np.random.Generator) -> World:
    kinds = [_easy_hard(rng), _alike(rng), _noise(rng), _weak(rng)]
    first, second = rng.choice(4, 2, replace=False)
    sources = [*kinds[first].sources.values(), *kinds[second].sources.values()][:3]
    return _world(dict(zip(NAMES, sources, strict=False)))


def _four(rng: np.random.Generator) -> World:
    kinds = [_easy_hard(rng), _alike(rng), _noise(rng), _weak(rng)]
    first, second = rng.choice(4, 2, replace=False)
    sources = [*kinds[first].sources.values(), *kinds[second].sources.values()]
    return _world(dict(zip(NAMES, sources, strict=True)))


def _imbalanced(rng: np.random.Generator) -> World:
    world = [_easy_hard, _alike, _noise, _weak][int(rng.integers(4))](rng)
    prior = tuple(np.geomspace(1.0, 0.2, world.classes).round(3))
    return replace(world, prior=prior)


def _few(rng: np.random.Generator) -> World:
    world = [_easy_hard, _alike, _noise, _weak][int(rng.integers(4))](rng)
    return replace(world, train=int(rng.choice([96, 160])), epochs=40)


def _pictures(rng: np.random.Generator) -> World:
    names = "top bottom, left right, all noise, all rows, all top"
    pairs = [tuple(pair.split()) for pair in names.split(", ")]
    pair = pairs[int(rng.integers(len(pairs)))]
    strength = rng.uniform(0.8, 2.0)
    parts = {m: Source(0, strength, picture=p) for m, p in zip("ab", pair, strict=True)}
    return _world(parts, classes=10, train=797, held_out=500)


FAMILIES: dict[str, tuple[Callable[[np.random.Generator], World], int]] = {
    "easy and hard": (_easy_hard, 20),
    "both alike": (_alike, 12),
    "noise": (_noise, 12),
    "much noise": (_much_noise, 14),
    "a copy": (_copy, 10),
    "weak but real": (_weak, 10),
    "half each": (_halves, 10),
    "only together": (_together, 10),
    "overfitting": (_overfitting, 26),
    "three": (_three, 12),
    "four": (_four, 12),
    "imbalanced": (_imbalanced, 12),
    "few samples": (_few, 12),
    "digits": (_pictures, 10),
    "misleading": (_misleading, 16),
}
"""Family -> what draws a world of it, and how many there are to tune rules on."""


FRESH = 100
"""Worlds with this number or a higher one were drawn when the rules were fixed, to judge them."""

FRESH_PER_FAMILY = 10


def all_worlds() -> list[World]:
    """Every world, family by family."""
    found = []
    for index, (family, (make, count)) in enumerate(FAMILIES.items()):
        for number in (*range(count), *range(FRESH, FRESH + FRESH_PER_FAMILY)):
            world = make(np.random.default_rng([2026, index, number]))
            found.append(replace(world, family=family, number=number))
    return found


def _world(sources: Mapping[str, Source], **others: object) -> World:
    return World("", 0, dict(sources), **others)  # type: ignore[arg-type]
