"""Write a prepared store as WebDataset shards, to be trained from in a folder or at a URL.

Examples, from the repository's root; see ``docs/streaming.md``::

    python experiments/shard.py store=STORE out=SHARDS
    python experiments/shard.py check=true out=SHARDS
    python experiments/train.py experiment=cremad data.store=SHARDS
    python experiments/train.py experiment=cremad data.store=s3://bucket/SHARDS
"""

import signal
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from running.clip_display import ClipDisplay
from running.errors import RecipeError

_OPTIONS = ("store", "out", "shard_mb", "check")


def run(cfg: DictConfig, console: Console) -> None:
    """Write or check shards and print what they are.

    Args:
        cfg: The composed configuration.
        console: Where to print.

    Raises:
        RecipeError: They cannot be written, or are damaged.
    """
    if others := sorted({str(key) for key in cfg} - set(_OPTIONS)):
        raise RecipeError(f"{others[0]} is no option; there are {', '.join(_OPTIONS)}")
    if type(cfg.check) is not bool:
        raise RecipeError(f"check must be true or false, got {cfg.check!r}")
    out = _place(cfg, "out")
    if cfg.check:
        _check(out, console)
        return
    store = _place(cfg, "store")
    if type(cfg.shard_mb) not in (int, float):
        raise RecipeError(f"shard_mb must be a number, got {cfg.shard_mb!r}")
    # Here: it takes torch with it, seconds that a mistyped override should not cost.
    from inforeg_lightning.data.prepare import Progress
    from inforeg_lightning.data.shards import write_shards
    from inforeg_lightning.data.store import StoreError

    def watch(done: int, total: int) -> None:
        # What a signal handler raises is lost where Python ignores exceptions, as in `__del__`.
        if _asked_to_end:
            raise Terminated
        display.show(Progress(done, 0, total))

    try:
        with ClipDisplay("shards", console) as display:
            meta = write_shards(store, out, cfg.shard_mb, watch)
    except (ImportError, OSError, StoreError, ValueError) as error:
        raise RecipeError(str(error)) from error
    size = sum(meta["shards"].values()) / 1e9
    line = f"{out}: {meta['clips']} clips in {len(meta['shards'])} shards, {size:.2f} GB"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _check(out: str, console: Console) -> None:
    from inforeg_lightning.data.shards import Shards, shown
    from inforeg_lightning.data.store import StoreError

    try:
        shards = Shards(out)
        damaged: Sequence[str] = shards.check()
    except (ImportError, OSError, StoreError, ValueError) as error:
        raise RecipeError(str(error)) from error
    if damaged:
        raise RecipeError(f"{len(damaged)} shards are damaged; the first: {damaged[0]}")
    line = f"{shown(out)}: {len(shards)} clips in {len(shards.files)} shards, all as written"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _place(cfg: DictConfig, option: str) -> str:
    if OmegaConf.is_missing(cfg, option):
        raise RecipeError(f"{option} must be given, as {option}=FOLDER")
    value: Any = cfg[option]
    if not isinstance(value, str | int) or isinstance(value, bool) or value == "":
        raise RecipeError(f"{option} must be a folder, got {value!r}")
    return str(value)  # a folder's name may be a number


class Terminated(BaseException):
    """The process was asked to end."""


_asked_to_end: list[int] = []


def _terminate(number: int, _: object) -> NoReturn:
    _asked_to_end.append(number)
    raise Terminated


@hydra.main(version_base="1.3", config_path="../conf", config_name="shard")
def main(cfg: DictConfig) -> None:
    """Write the shards that the command line asks for."""
    run(cfg, Console())


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _terminate)
    if {"-m", "--multirun"} & set(sys.argv):
        # Before Hydra, which would leave a folder of its own.
        sys.exit("shard.py writes one folder of shards at a time: it takes no -m")
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted: the same command begins anew")
        sys.exit(130)
    except Terminated:
        print("terminated: the same command begins anew")
        sys.exit(143)
