"""Train one configuration, or sweep over many.

Examples, from the repository's root; ``conf/train.yaml`` explains the overrides::

    python experiments/train.py
    python experiments/train.py experiment=cremad callbacks=none seed=1
    python experiments/train.py -m callbacks=none,inforeg,inforeg_adaptive seed=0,1,2

Then ``python experiments/report.py runs/av_digits`` compares what lies there.
"""

import sys
from contextlib import suppress
from pathlib import Path

import hydra
from omegaconf import DictConfig

from running.compose import check_groups, current_place
from running.ending import INTERRUPTED, end_on_sigterm
from running.errors import RecipeError

_LEFT = "the run is unfinished, and the same command trains it anew"


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def compose_and_run(cfg: DictConfig) -> None:
    """Train what the command line composes."""
    # Here: they take torch with them, seconds that a mistyped override should not cost.
    from running.checks import check
    from running.training import run

    check(cfg)
    run(cfg, current_place(cfg))


def main() -> int:
    """Train; 1 where it cannot, 130 if interrupted, 143 at SIGTERM."""
    end_on_sigterm(f"ended by SIGTERM: {_LEFT}")
    try:
        check_groups(sys.argv[1:])
        compose_and_run()
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 1
    except (KeyboardInterrupt, SystemExit) as ending:
        # Lightning makes an exit of Ctrl-C while it trains.
        cause = ending.__context__ if isinstance(ending, SystemExit) else ending
        if isinstance(cause, KeyboardInterrupt):
            print(f"interrupted: {_LEFT}")
            return INTERRUPTED
        if isinstance(ending, SystemExit) and ending.code == 1:
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
