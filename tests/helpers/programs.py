"""Runs a program of the project in a process of its own that has imported the libraries already.

To import torch, Lightning and Hydra takes seconds, and most tests of programs take less. So a
server imports them once, and each program is a fork of it: a process of its own all the same, with
its own folder, environment, output and exit status.
"""

import contextlib
import multiprocessing
import os
import runpy
import sys
import tempfile
import traceback
from collections.abc import Mapping
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from subprocess import CompletedProcess

_PRELOADED = ["lightning.pytorch", "hydra", "torchmetrics", "pandas", "sklearn.linear_model"]
_PRELOADED += ["matplotlib.backends.backend_agg"]
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_PRELOADED)


def start_server() -> None:
    """Start the server before any other test does.

    A process has one, and the pool that prepares data would have started it without the libraries.
    """
    _context.set_forkserver_preload(_PRELOADED)
    ensure_running()


def run_program(
    program: Path,
    *arguments: object,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    timeout: float = 300,
) -> CompletedProcess[str]:
    """Run a program as ``python PROGRAM ARGUMENTS`` would, and return what it said.

    Args:
        program: The file.
        arguments: On its command line.
        cwd: Its working directory.
        environment: Variables besides those of this process.
        timeout: Seconds until it is killed and the test fails.
    """
    command = [str(program), *map(str, arguments)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, "out"), Path(folder, "err")]
        process = _context.Process(target=_run, args=(command, str(cwd), variables, said))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"{command} took more than {timeout} s")
        out, err = (path.read_text(encoding="utf-8", errors="replace") for path in said)
    return CompletedProcess(command, process.exitcode, out, err)


def _run(command: list[str], cwd: str, variables: dict[str, str], said: list[Path]) -> None:
    for number, path in enumerate(said, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), number)
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    sys.argv = command
    sys.path.insert(0, os.path.dirname(command[0]))
    for folder in reversed(variables.get("PYTHONPATH", "").split(os.pathsep)):
        if folder and folder not in sys.path:
            sys.path.insert(1, folder)
    status = 0
    try:
        runpy.run_path(command[0], run_name="__main__")
    except SystemExit as ended:
        status = _status(ended.code)
    except BaseException:
        traceback.print_exc()
        status = 1
    # As the interpreter does when a program ends, which a fork leaves out.
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    sys.exit(status)


def _status(code: object) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1
