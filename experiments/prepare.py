r"""Prepare a raw data set: decode every clip once into a store that training reads.

Examples, from the repository's root; ``conf/prepare/`` explains the overrides and
``docs/data.md`` the layouts::

    python experiments/prepare.py data=cremad data.root=RAW data.store=STORE
    python experiments/prepare.py data=kinetics_sounds data.root=RAW data.store=STORE \
        data.train_list=my_train.txt data.test_list=my_test.txt

It can be ended at any time and goes on where it was when the command is given again. Several
machines prepare a share each, with ``share=1/16`` to ``share=16/16``; see ``docs/streaming.md``.
"""

import time
from types import TracebackType
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from running.errors import RecipeError

if TYPE_CHECKING:
    from inforeg_lightning.data import prepare as preparation

_LINE_EVERY = 10.0  # seconds


class Display:
    """A bar with rate and time left in a terminal, a line now and then elsewhere."""

    def __init__(self, name: str, console: Console) -> None:
        self.name, self.console = name, console
        self.first: tuple[float, int] | None = None  # when how many clips were done
        self.next_line = 0.0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            # Parts differ: a short memory would make the estimate jump.
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task(name, total=None, rate="")

    def __enter__(self) -> "Display":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def show(self, progress: "preparation.Progress") -> None:
        """Show how far it is."""
        now, begun = time.monotonic(), progress.done > progress.resumed
        if not begun:
            self._begin(progress)
        elif self.first is None:
            # From the first clip on, that the start of the workers may not count.
            self.first, self.next_line = (now, progress.done), now + _LINE_EVERY
        since, count = self.first or (now, progress.done)
        rate = (progress.done - count) / max(now - since, 1e-3)
        text = f"{rate:.1f} clips/s" if rate else ""
        self.bar.update(self.task, completed=progress.done, total=progress.total, rate=text)
        if not self.console.is_terminal and rate and now >= self.next_line:
            self.next_line = now + _LINE_EVERY
            left = (progress.total - progress.done) / rate
            self._line(
                f"{self.name}: {progress.done}/{progress.total} clips, {text}, {left:.0f} s left"
            )

    def _begin(self, progress: "preparation.Progress") -> None:
        if self.bar.tasks[self.task].total is not None:
            return
        found = f"{self.name}: {progress.total} clips"
        if progress.resumed:
            found += f", {progress.resumed} of them there already: going on"
        self._line(found)

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


def run(cfg: DictConfig, console: Console) -> None:
    """Prepare a data set and print what became of it.

    Args:
        cfg: The composed configuration.
        console: Where to print.

    Raises:
        RecipeError: It cannot be prepared, or clips were rejected and ``strict`` is set.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise RecipeError(f"{', '.join(missing)} must be given, as {missing[0]}=FOLDER")
    # Here: it takes torch with it, seconds that a mistyped override should not cost.
    from inforeg_lightning.data.prepare import prepare
    from inforeg_lightning.data.prepare_pool import WorkerError
    from inforeg_lightning.data.store import StoreError

    options = {str(key): value for key, value in cfg.data.items()}
    try:
        with Display(cfg.data.name, console) as display:
            result = prepare(**options, workers=cfg.workers, share=cfg.share, watch=display.show)
    except (ValueError, StoreError, WorkerError) as error:
        raise RecipeError(str(error)) from error
    console.print(result.summary(), highlight=False, markup=False, soft_wrap=True)
    if cfg.strict and result.rejected:
        name, reason = result.rejected[0]
        raise RecipeError(
            f"strict=true, and {len(result.rejected)} clips were rejected; the first is "
            f"{name} ({reason})"
        )


@hydra.main(version_base="1.3", config_path="../conf/prepare", config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Prepare what the command line composes."""
    try:
        run(cfg, Console())
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
