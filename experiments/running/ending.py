"""How a program ends when it is told to: with one line and a code that is not 0."""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


def end_on_sigterm(line: str) -> None:
    """Print a line and end with code 143 at SIGTERM, running what ``finally`` blocks hold.

    Lightning, which has a handler of its own while it trains, calls this one too.

    Args:
        line: What to print; it says what becomes of the work.
    """

    def end(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough, also for a group's signal
        if os.environ.get("LOCAL_RANK", "0") == "0":  # the first of several processes speaks
            print(line, file=sys.stderr, flush=True)
        sys.exit(TERMINATED)

    signal.signal(signal.SIGTERM, end)
