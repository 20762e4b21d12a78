import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def ranks(tmp_path_factory) -> list[dict]:
    """What each of two processes found, by set-up: one pair of processes trains them all."""
    return run_pair("worker.py", tmp_path_factory.mktemp("ranks"))


@pytest.fixture(scope="session")
def readers(tmp_path_factory) -> list[dict]:
    """What each of two processes read, by where from: one pair reads everything."""
    return run_pair("data_worker.py", tmp_path_factory.mktemp("readers"))


def run_pair(program: str, folder: Path) -> list[dict]:
    """Start a program twice, as launchers do, and load what each of the two saved."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = os.environ | {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "TORCHELASTIC_RUN_ID": "test",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
    }
    logs = [folder / f"rank{rank}.log" for rank in (0, 1)]
    processes = []
    for rank, log in enumerate(logs):
        with log.open("w") as file:
            processes.append(
                subprocess.Popen(
                    [sys.executable, HERE / program, folder],
                    env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )
    try:
        codes = [process.wait(timeout=400) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert codes == [0, 0], "\n".join(log.read_text()[-4000:] for log in logs)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
