"""What became of each hostile input, counted, with examples of what must not happen.

==============  ==================================================================================
``refused``     a clear error: of a class that is promised, from our own code, in a sentence
``survived``    the right result all the same
``lost``        something healthy is gone, or cannot be had back by giving the same command again
``wrong``       falsified or let in without a word: other data, a file outside, a check that missed,
                left-overs of a refused command, a process that never ends or takes all memory
``traceback``   an error that nobody wrote for a reader
==============  ==================================================================================
"""

import re
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import inforeg_lightning

OUTCOMES = ("refused", "survived", "lost", "wrong", "traceback")
BAD = OUTCOMES[2:]
_EXAMPLES = 20  # of each kind of bad outcome; the seed gives the others again
_OURS = (Path(inforeg_lightning.__file__).parent, Path(__file__).parents[2] / "experiments")
_WRITTEN = (ValueError, TypeError, OSError, ImportError, RuntimeError)


class Tally:
    """Counts of outcomes, and what the bad ones were.

    Attributes:
        counts: Outcome -> number of inputs.
        examples: Bad outcome -> some of the inputs.
        last: What was last counted, good or bad.
    """

    def __init__(self) -> None:
        self.last = ""
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, outcome: str, what: str, count: int = 1) -> None:
        """Count inputs.

        Args:
            outcome: One of ``OUTCOMES``.
            what: The input and what came of it; kept where the outcome is bad.
            count: How many.
        """
        if outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {OUTCOMES}, got {outcome!r}")
        self.counts[outcome] += count
        self.last = what
        if outcome in BAD and count:
            kept = self.examples.setdefault(outcome, [])
            if len(kept) < _EXAMPLES:
                kept.append(_anywhere(what)[:2000])

    @contextmanager
    def refusing(self, what: str) -> Iterator[None]:
        """Count an error of the body as a refusal, or as a traceback if it is not a clear one."""
        try:
            yield
        except Exception as error:
            clear = is_clear(error)
            self.add("refused" if clear else "traceback", f"{what}: {_shown(error)}")

    def to_json(self) -> dict[str, Any]:
        """Plain data: the number tried, each outcome, and the examples."""
        return {
            "tried": sum(self.counts.values()),
            **{outcome: self.counts[outcome] for outcome in OUTCOMES},
            "examples": self.examples,
        }


def is_clear(error: BaseException) -> bool:
    """Whether an error was written for a reader: a class of ours, or raised in our own code."""
    if not str(error).strip():
        return False
    if type(error).__module__.split(".")[0] == "inforeg_lightning":
        return True
    frames = traceback.extract_tb(error.__traceback__)
    raised = Path(frames[-1].filename).resolve()
    return isinstance(error, _WRITTEN) and any(raised.is_relative_to(ours) for ours in _OURS)


def _anywhere(text: str) -> str:
    """A text without the folders of this machine, since it is kept and read elsewhere."""
    folders = [_OURS[1].parent, Path(sys.prefix), Path(sys.base_prefix), Path.home()]
    for folder in sorted(folders, key=lambda path: -len(str(path))):
        text = text.replace(f"{folder}/", "")
    return re.sub(rf"{re.escape(tempfile.gettempdir())}/[^/\s]+", "TEMPORARY", text)


def _shown(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(error).__name__} at {where}: {error}"
