"""How a program ends when it is told to: with one line and a code that is not 0."""

import os
import signal
import sys
import threading
from contextlib import suppress
from types import FrameType

_PATIENCE = 20.0  # seconds for what `finally` blocks do


def end_on_signals(line: str) -> None:
    """Print a line and end at SIGTERM, SIGINT and SIGHUP, with 128 and the signal's number.

    What ``finally`` blocks hold is run, but not for ever. A signal that is ignored, as under
    ``nohup``, stays so. Lightning, which has a handler for SIGTERM while it trains, calls this one.

    Args:
        line: What to print; it says what becomes of the work.
    """
    told = False

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal told
        code = 128 + number
        if told:
            os._exit(code)
        told = True
        # An exit can be caught, or wait for another process that has ended already.
        watch = threading.Timer(_PATIENCE, os._exit, [code])
        watch.daemon = True
        watch.start()
        if os.environ.get("LOCAL_RANK", "0") == "0":  # the first of several processes speaks
            _say(f"ended by {signal.Signals(number).name}: {line}")
        sys.exit(code)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def _say(text: str) -> None:
    # Not `print`: the signal may have come in the middle of another one.
    with suppress(OSError):  # the terminal is gone, which may be why
        os.write(2, f"{text}\n".encode())
