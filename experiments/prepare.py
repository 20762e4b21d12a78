r"""Prepare a raw data set: decode every clip once into a store that training reads.

Examples, from the repository's root; ``conf/prepare/`` explains the overrides and
``docs/data.md`` the layouts::

    python experiments/prepare.py data=cremad data.root=RAW data.store=STORE
    python experiments/prepare.py data=kinetics_sounds data.root=RAW data.store=STORE \
        data.train_list=my_train.txt data.test_list=my_test.txt

It can be ended at any time and goes on where it was when the command is given again.
``data=cremad data.store=STORE check=true`` reads a store and finds every changed byte. Several
machines prepare a share each, with ``share=1/16`` to ``share=16/16``; see ``docs/streaming.md``.
"""

import signal
import sys
from pathlib import Path
from types import FrameType

import hydra
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from running.clip_display import ClipDisplay
from running.errors import RecipeError

_CONF = Path(__file__).resolve().parents[1] / "conf" / "prepare"
_OPTIONS = {"data", "workers", "share", "strict", "check"}
# What of data= is no setting of the recipe, but an argument of prepare().
_ARGUMENTS = ("root", "store", "train_list", "test_list", "download", "timeout")


def run(cfg: DictConfig, console: Console) -> None:
    """Prepare a data set and print what became of it, or check a store that is there.

    Args:
        cfg: The composed configuration.
        console: Where to print.

    Raises:
        RecipeError: It cannot be prepared, or clips were rejected and ``strict`` is set, or the
            store that was to be checked is damaged.
    """
    _check_options(cfg)
    # Here: it takes torch with it, seconds that a mistyped override should not cost.
    from inforeg_lightning.data.prepare import RawTreeError, WorkerError
    from inforeg_lightning.data.store import StoreError

    try:
        text = _checked(cfg.data.store) if cfg.check else _prepared(cfg, console)
    except InstantiationException as error:
        raise RecipeError(str(error.__cause__ or error)) from None
    except (OSError, ImportError, ValueError, StoreError, RawTreeError, WorkerError) as error:
        raise RecipeError(str(error)) from error
    _print(console, text)


def _check_options(cfg: DictConfig) -> None:
    missing = OmegaConf.missing_keys(cfg) - ({"data.root"} if cfg.check else set())
    if missing:
        names = sorted(missing)
        raise RecipeError(f"{', '.join(names)} must be given, as {names[0]}=FOLDER")
    if unknown := sorted(set(cfg) - _OPTIONS):
        raise RecipeError(
            f"there is no option {unknown[0]}; there are {', '.join(sorted(_OPTIONS))}"
        )
    for name in ("strict", "check", "data.download"):
        value = OmegaConf.select(cfg, name)
        if not isinstance(value, bool):
            raise RecipeError(f"{name} must be true or false, got {value!r}")


def _checked(store: str) -> str:
    from inforeg_lightning.data.store import Store, StoreError
    from inforeg_lightning.data.store.names import folder_argument

    opened = Store(folder_argument("data.store", store))
    if damaged := opened.damaged():
        raise StoreError(
            f"the store {store} is damaged (frames.bin or audio.bin: the bytes of {len(damaged)} "
            f"clips are not those that were written, {damaged[0]} first); delete it and prepare it "
            "again"
        )
    return f"{store}: {len(opened)} clips, every byte of every file is as it was written"


def _prepared(cfg: DictConfig, console: Console) -> str:
    from inforeg_lightning.data.prepare import prepare

    options = {str(key): value for key, value in cfg.data.items()}
    arguments = {name: options.pop(name) for name in _ARGUMENTS if name in options}
    recipe = instantiate(options)
    with ClipDisplay(recipe.data, console) as display:
        result = prepare(
            recipe, **arguments, workers=cfg.workers, share=cfg.share, watch=display.show
        )
    if cfg.strict and result.rejected:
        _print(console, result.summary())
        name, reason = result.rejected[0]
        raise RecipeError(
            f"strict=true, and {len(result.rejected)} clips were rejected; the first is "
            f"{name} ({reason})"
        )
    return result.summary()


def _print(console: Console, text: str) -> None:
    # A path need not be UTF-8.
    text = text.encode(errors="backslashreplace").decode()
    console.print(text, highlight=False, markup=False, soft_wrap=True)


@hydra.main(version_base="1.3", config_path="../conf/prepare", config_name="prepare")
def main(cfg: DictConfig) -> None:
    """Prepare what the command line composes."""
    run(cfg, Console())


def _show_help() -> None:
    """Print what Hydra cannot, whose help needs a data set to compose."""
    files = sorted(path.stem for path in (_CONF / "data").glob("*.yaml"))
    print(__doc__)
    print(f"data= is one of: {', '.join(files)}. Its settings: data={files[0]} --help")


class _Terminated(BaseException):
    """SIGTERM has come; not an error, which Hydra would catch."""


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    raise _Terminated


if __name__ == "__main__":
    if {"-m", "--multirun"} & set(sys.argv):
        sys.exit("prepare.py prepares one data set at a time: leave out --multirun")
    given = sys.argv[1:]
    if {"-h", "--help"} & set(given) and not any(word.startswith("data=") for word in given):
        _show_help()
        sys.exit(0)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted: the same command goes on from here")
        sys.exit(130)
    except _Terminated:
        print("ended by SIGTERM: the same command goes on from here")
        sys.exit(143)
