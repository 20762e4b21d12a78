"""Train one configuration, or sweep over many.

Examples, from the repository's root; ``conf/train.yaml`` explains the overrides::

    python experiments/train.py
    python experiments/train.py experiment=cremad callbacks=none seed=1
    python experiments/train.py -m callbacks=none,inforeg,inforeg_adaptive seed=0,1,2

Then ``python experiments/report.py runs/av_digits`` compares what lies there.
"""

import os
import sys
from contextlib import suppress
from pathlib import Path

from running.ending import end_on_signals

if __name__ == "__main__":  # before imports that take seconds
    end_on_signals("the run is unfinished, and the same command trains it anew")

import hydra
from omegaconf import DictConfig

from running.compose import check_groups, current
from running.errors import RecipeError


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def compose_and_run(cfg: DictConfig) -> None:
    """Train what the command line composes."""
    # Here: they take torch with them, seconds that a mistyped override should not cost.
    from running.checks import check
    from running.training import run

    cfg, place = current(cfg)
    check(cfg)
    run(cfg, place)


def main() -> int:
    """Train; 1 where it cannot."""
    try:
        if "LOCAL_RANK" not in os.environ:  # to further processes Lightning gives more
            check_groups(sys.argv[1:])
        compose_and_run()
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 1
    except SystemExit as ending:
        if ending.code == 1:  # Hydra has said why
            _forget_sweep()
        raise
    return 0


def _forget_sweep() -> None:
    """Remove Hydra's record of a sweep where none of its runs began."""
    given = [argument.partition("=")[2] for argument in sys.argv if argument.startswith("runs=")]
    runs = Path(given[-1] if given else "runs")
    with suppress(OSError):
        if [path.name for path in runs.iterdir()] == ["multirun.yaml"]:
            (runs / "multirun.yaml").unlink()
            runs.rmdir()


if __name__ == "__main__":
    sys.exit(main())
