"""Flipped bits in every file of a store and of a folder of shards: the check must find each.

The bits are drawn by file first, so that the small files get as many as the large ones: a bit in
the index is a wrong label, a bit in a frame is a wrong pixel.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from attacking import damage
from attacking.damage import Rng
from attacking.samples import Samples
from attacking.tally import Tally

DEFAULT = 5000


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Flip ``count`` bits, four of five in a store, each in a folder that is whole but for it."""
    for folder, check, share in (
        (samples.store, check_store, 0.8),
        (samples.shards, check_shards, 0.2),
    ):
        copy = work / folder.name
        shutil.copytree(folder, copy)
        if found := check(copy):
            tally.add("wrong", f"the check finds fault with a healthy {folder.name}: {found}")
        files = sorted(path for path in copy.iterdir() if path.is_file())
        for number in range(max(round(count * share), 1)):
            path = files[number % len(files)]
            content = path.read_bytes()
            if not content:
                continue
            path.write_bytes(damage.flip(content, rng))
            what = f"a bit of {path.name}, number {number}"
            _judge(lambda: check(copy), what, tally)  # noqa: B023
            path.write_bytes(content)


def _judge(check: Callable[[], str], what: str, tally: Tally) -> None:
    with tally.refusing(what):
        found = check()
        tally.add("refused" if found else "wrong", f"{what}: the check found nothing")


def check_store(folder: Path) -> str:
    """What a thorough check finds wrong with a store; ``""`` for nothing."""
    from inforeg_lightning.data.store import Store

    damaged = Store(folder).damaged()
    return f"damaged: {damaged}" if damaged else ""


def check_shards(folder: Path) -> str:
    """What a thorough check finds wrong with a folder of shards; ``""`` for nothing."""
    from inforeg_lightning.data.shards import Shards

    damaged = Shards(folder).check()
    return f"damaged: {damaged}" if damaged else ""
