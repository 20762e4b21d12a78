"""Train one configuration, or sweep over many.

Examples, from the repository's root; ``conf/train.yaml`` explains the overrides::

    python experiments/train.py
    python experiments/train.py experiment=cremad callbacks=none seed=1
    python experiments/train.py -m callbacks=none,inforeg,inforeg_adaptive seed=0,1,2

Then ``python experiments/report.py runs/av_digits`` compares what lies there.
"""

import hydra
from omegaconf import DictConfig

from training import place_of, run


@hydra.main(version_base="1.3", config_path="../conf", config_name="train")
def main(cfg: DictConfig) -> None:
    """Train what the command line composes."""
    run(cfg, place_of())


if __name__ == "__main__":
    main()
