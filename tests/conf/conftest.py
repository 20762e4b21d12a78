import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from helpers.programs import run_program

ROOT = Path(__file__).resolve().parents[2]
CONF, EXPERIMENTS = ROOT / "conf", ROOT / "experiments"

# The programs are scripts, not a package: their modules are found as the scripts find them.
sys.path.insert(0, str(EXPERIMENTS))

import running.compose  # noqa: E402, F401 (gives the configuration its resolver)


@pytest.fixture
def composed():
    """Compose the configuration of some overrides."""

    def compose_with(*overrides, hydra=False):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", list(overrides), return_hydra_config=hydra)

    return compose_with


@pytest.fixture(scope="session")
def start():
    """Run one of the programs; return the finished process with its output."""

    def run(program, *arguments, cwd, status=0):
        process = run_program(EXPERIMENTS / program, *arguments, cwd=cwd)
        assert process.returncode == status, process.stdout + process.stderr
        return process

    return run


@pytest.fixture
def kept():
    """Rows of equal numbers but for noise: nothing of the paper holds of them."""
    from helpers.claims import rows_of_noise  # it imports what the path above finds

    return rows_of_noise()
