"""Write a prepared store as WebDataset shards, to be trained from in a folder or at a URL.

Examples, from the repository's root; see ``docs/streaming.md``::

    python experiments/shard.py store=STORE out=SHARDS
    python experiments/train.py experiment=cremad data.store=SHARDS
    python experiments/train.py experiment=cremad data.store=s3://bucket/SHARDS
"""

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from prepare import Display
from running.errors import RecipeError


def run(cfg: DictConfig, console: Console) -> None:
    """Write shards and print what they are.

    Args:
        cfg: The composed configuration.
        console: Where to print.

    Raises:
        RecipeError: They cannot be written.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise RecipeError(f"{', '.join(missing)} must be given, as {missing[0]}=FOLDER")
    # Here: it takes torch with it, seconds that a mistyped override should not cost.
    from inforeg_lightning.data.prepare import Progress
    from inforeg_lightning.data.shards_write import write_shards
    from inforeg_lightning.data.store import StoreError

    try:
        with Display("shards", console) as display:
            meta = write_shards(
                cfg.store,
                cfg.out,
                cfg.shard_mb,
                lambda done, total: display.show(Progress(done, 0, total)),
            )
    except (ImportError, OSError, StoreError, ValueError) as error:
        raise RecipeError(str(error)) from error
    size = sum(meta["shards"].values()) / 1e9
    line = f"{cfg.out}: {meta['clips']} clips in {len(meta['shards'])} shards, {size:.2f} GB"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


@hydra.main(version_base="1.3", config_path="../conf", config_name="shard")
def main(cfg: DictConfig) -> None:
    """Write the shards that the command line asks for."""
    try:
        run(cfg, Console())
    except KeyboardInterrupt:
        print("interrupted: the same command begins anew")
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
