"""Train one configuration, or sweep over many.

Examples, from the repository's root; ``conf/train.yaml`` explains the overrides::

    python experiments/train.py
    python experiments/train.py experiment=cremad callbacks=none seed=1
    python experiments/train.py -m callbacks=none,inforeg,inforeg_adaptive seed=0,1,2

Then ``python experiments/report.py runs/av_digits`` compares what lies there.
"""

import hydra
from omegaconf import DictConfig

from running.ending import INTERRUPTED, end_on_sigterm


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def main(cfg: DictConfig) -> None:
    """Train what the command line composes."""
    # Here: it takes torch with it, seconds that a mistyped override should not cost.
    from running.checks import check
    from running.compose import current_place
    from running.training import run

    check(cfg)
    run(cfg, current_place(cfg))


if __name__ == "__main__":
    left = "the run is unfinished, and the same command trains it anew"
    end_on_sigterm(f"ended by SIGTERM: {left}")
    try:
        main()
    except KeyboardInterrupt:
        print(f"interrupted: {left}")
        raise SystemExit(INTERRUPTED) from None
    except SystemExit as ending:
        # Lightning makes this of Ctrl-C while it trains.
        if isinstance(ending.__context__, KeyboardInterrupt):
            print(f"interrupted: {left}")
            raise SystemExit(INTERRUPTED) from None
        raise
