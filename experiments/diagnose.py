"""Say whether a recipe's model suffers, and from what.

Examples, from the repository's root; ``conf/diagnose.yaml`` explains the overrides::

    python experiments/diagnose.py                       # AV-Digits
    python experiments/diagnose.py experiment=cremad data.store=STORE workers=4
    python experiments/diagnose.py checkpoint=runs/av_digits/none/seed=0/checkpoints/last.ckpt

Finished runs are kept, and the same command goes on from them; a page is written beside them.
"""

import sys

from running.ending import end_on_signals

if __name__ == "__main__":  # before imports that take seconds
    end_on_signals("finished runs are kept, and the same command goes on from them")

import hydra
from omegaconf import DictConfig

from running.compose import check_groups
from running.errors import RecipeError


@hydra.main(version_base="1.3", config_path="../conf", config_name="diagnose")
def compose_and_diagnose(cfg: DictConfig) -> None:
    """Diagnose what the command line composes."""
    # Here: they take torch with them, seconds that a mistyped override should not cost.
    from running.checks import check
    from running.diagnosing import run

    check(cfg)
    run(cfg, ["python", "experiments/diagnose.py", *sys.argv[1:]])


def main() -> int:
    """Diagnose; 1 where it cannot."""
    try:
        check_groups(sys.argv[1:])
        compose_and_diagnose()
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
