"""Launchers of Hydra's sweeps: what they compose to, and runs side by side that are the same."""

import subprocess
import sys
import threading

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from running.building import beside_others
from running.claim import claimed
from running.compose import CONF
from running.errors import RecipeError

HOLDER = (
    "import sys, time\n"
    "from filelock import FileLock\n"
    "lock = FileLock(sys.argv[1]); lock.acquire(); print(flush=True); time.sleep(600)\n"
)


@pytest.mark.parametrize(
    ("name", "target", "settings"),
    [
        ("cores", "JoblibLauncher", {"n_jobs": -1}),
        ("slurm", "SlurmLauncher", {"submitit_folder": "x/.submitit/%j", "gpus_per_node": 1}),
    ],
)
def test_a_launcher_is_the_plugin_s_with_what_we_state(name, target, settings):
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", [f"hydra/launcher={name}", "runs=x"], return_hydra_config=True)
    launcher = cfg.hydra.launcher
    assert launcher["_target_"].endswith(f".{target}")
    # `runs` is a key of the whole configuration, not of Hydra's part.
    found = {key: OmegaConf.to_container(launcher, resolve=False)[key] for key in settings}
    assert {k: str(v).replace("${runs}", cfg.runs) for k, v in found.items()} == {
        k: str(v) for k, v in settings.items()
    }


@pytest.mark.parametrize(
    ("mode", "launcher", "expected"),
    [
        (RunMode.RUN, "x.JoblibLauncher", False),
        (RunMode.MULTIRUN, "hydra._internal.core_plugins.basic_launcher.BasicLauncher", False),
        (RunMode.MULTIRUN, "x.JoblibLauncher", True),
    ],
)
def test_runs_are_side_by_side_under_another_launcher_than_hydra_s_own(
    monkeypatch, mode, launcher, expected
):
    hydra = OmegaConf.create({"mode": mode, "launcher": {"_target_": launcher}})
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: hydra)
    assert beside_others() is expected


def test_a_run_that_is_trained_beside_is_waited_for(tmp_path):
    folder = tmp_path / "run"
    lock = tmp_path / ".run.lock"
    with subprocess.Popen([sys.executable, "-c", HOLDER, lock], stdout=subprocess.PIPE) as holder:
        holder.stdout.readline()
        try:
            with pytest.raises(RecipeError, match="another process trains this run"):
                claimed(folder, {}, rerun=False).__enter__()
            threading.Timer(2.5, holder.kill).start()  # longer than the patience of a refusal
            with claimed(folder, {}, rerun=False, waits=True) as claim:
                assert holder.poll() is not None or holder.wait(5) is not None
                assert not claim.there
        finally:
            holder.kill()


@pytest.mark.slow
def test_a_sweep_over_cores_trains_what_is_the_same_once(tmp_path):
    sweep = ("-m", "callbacks=none,inforeg", "callbacks.inforeg.beta=0.5,0.9", "seed=0")
    tiny = ("experiment=synthetic", "trainer.max_epochs=1", "hydra/launcher=cores")
    program = CONF.parent / "experiments" / "train.py"
    # Not a fork of the server of other tests, whose threads joblib's workers would wait for.
    command = [sys.executable, program, *sweep, *tiny, "hydra.launcher.n_jobs=2"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=300, capture_output=True)
    assert len([*tmp_path.rglob("result.json")]) == 3
