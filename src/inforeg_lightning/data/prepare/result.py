"""What preparation reports: how far it is, and what became of the clips."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from inforeg_lightning.data.prepare.merge import joined
from inforeg_lightning.data.prepare.pool import Job
from inforeg_lightning.data.store.files import Tables, read_tables


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Attributes:
        done: Clips that are done, or being done.
        resumed: Of these, clips that were there when it began.
        total: Clips of the raw tree, or of a share of it.
    """

    done: int
    resumed: int
    total: int


@dataclass(frozen=True)
class Prepared:
    """What became of a raw tree.

    Attributes:
        store: The store's folder.
        clips: Clips in it.
        frames: Frames of all clips.
        bytes: Size of its large files.
        rejected: Name and reason of the clips that are not.
        seconds: How long it took; 0 if it was there already.
        share: The share that was prepared, as ``"3/16"``; empty for the whole.
    """

    store: Path
    clips: int
    frames: int
    bytes: int
    rejected: tuple[tuple[str, str], ...]
    seconds: float
    share: str = ""

    def summary(self) -> str:
        """Say in a few lines how many clips there are, of what size, and why others are not."""
        took = f"in {self.seconds:.0f} s" if self.seconds else "there already, nothing to do"
        listed = "" if self.share else f", listed in {self.store / 'rejected.csv'}"
        lines = [
            f"{self.store}: {self.clips} clips, {self.frames} frames, "
            f"{self.bytes / 1e9:.2f} GB, {took}",
            f"  {len(self.rejected)} rejected" + (f"{listed}:" if self.rejected else ""),
        ]
        if self.share:
            lines.insert(
                0, f"share {self.share}; when all are done, the command without share= joins them"
            )
        reasons = Counter(_kind(reason) for _, reason in self.rejected)
        lines += [f"  {count:>6}  {reason}" for reason, count in reasons.most_common()]
        return "\n".join(lines)


def prepared_share(store: Path, jobs: Sequence[Job], seconds: float, share: str) -> Prepared:
    """Return what became of one share."""
    if not jobs:  # more shares than parts
        return Prepared(store, 0, 0, 0, (), seconds, share)
    tables = joined([read_tables(job.folder, partly_moved=True) for job in jobs])
    return replace(prepared(store, tables, seconds), share=share)


def prepared(store: Path, tables: Tables, seconds: float) -> Prepared:
    """Return what became of the whole tree, from the tables of its store."""
    size = sum(tables.sizes().values())
    frames = len(tables.offsets) - 1
    return Prepared(store, len(tables.clips), frames, size, tuple(tables.rejected), seconds)


def _kind(reason: str) -> str:
    """A reason without what differs from clip to clip."""
    head, colon, rest = reason.partition(": ")
    return f"{head}{colon}{rest.split(':')[0]}" if head in ("video", "audio") else head
