"""Which clip is trained on, validated on and tested on: published lists, or by actor.

Everything here works on names, labels and groups; nothing reads media. Whatever the test half is,
the validation slice comes out of the training half.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.loading.in_memory import SPLITS
from inforeg_lightning.data.prepare.lists import SplitError, in_both_lists, some


@dataclass(frozen=True)
class Split:
    """Clips of each split, as rows of the store.

    Attributes:
        rows: Split -> rows, ascending.
        absent: Half -> names that its list has and the store has not.
        unlisted: Names that the store has and no list has.
    """

    rows: Mapping[str, NDArray[np.int64]]
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unlisted: tuple[str, ...] = ()

    def table(
        self,
        labels: NDArray[np.int64],
        class_names: Sequence[str],
        groups: NDArray[np.str_] | None = None,
    ) -> str:
        """Return a table of the clips of each split and class, and what lists and store lack.

        Args:
            labels: Class index of each row of the store.
            class_names: Class -> its name.
            groups: Group of each row; the table then says how many groups are shared.
        """
        counts = {
            split: np.bincount(labels[rows], minlength=len(class_names))
            for split, rows in self.rows.items()
        }
        width = max(map(len, (*class_names, "class")))
        lines = [f"{'class':<{width}}" + "".join(f"{split:>16}" for split in counts)]
        for label, name in enumerate(class_names):
            cells = (f"{of[label]} ({of[label] / max(of.sum(), 1):6.1%})" for of in counts.values())
            lines.append(f"{name:<{width}}" + "".join(f"{cell:>16}" for cell in cells))
        totals = "".join(f"{of.sum():>7}{'':9}" for of in counts.values())
        lines.append(f"{'all':<{width}}" + totals.rstrip())
        for half, names in self.absent.items():
            if names:
                lines.append(f"{len(names)} of the {half} list not in the store: {some(names)}")
        if self.unlisted:
            lines.append(f"{len(self.unlisted)} in the store, in no list: {some(self.unlisted)}")
        if groups is not None:
            lines.append(_shared_groups(self.rows, groups))
        return "\n".join(lines)


def listed_split(
    names: Sequence[str] | NDArray[np.str_],
    labels: NDArray[np.int64],
    train: Mapping[str, int],
    test: Mapping[str, int],
    val_share: float = 0.1,
    seed: int = 0,
) -> Split:
    """Take the published halves, with a validation slice of the training half, by class.

    Args:
        names: Name of each row of the store.
        labels: Class of each row.
        train: Name -> class of the training list.
        test: Name -> class of the test list.
        val_share: Share of each class's training clips that go to validation.
        seed: Seed of the validation slice.

    Raises:
        SplitError: A clip is in both lists, or has another class in the store, or a split gets
            no clips.
    """
    if leaked := sorted(set(train) & set(test)):
        raise in_both_lists(leaked)
    rows = {str(name): row for row, name in enumerate(names)}
    found = {
        half: np.array(sorted(rows[name] for name in listed if name in rows), np.int64)
        for half, listed in (("train", train), ("test", test))
    }
    listed = {**train, **test}
    if wrong := [n for n, r in rows.items() if n in listed and listed[n] != labels[r]]:
        raise SplitError(
            f"{len(wrong)} clips have another class in the store than in the lists: {some(wrong)}"
        )
    kept, held_out = hold_out(found["train"], labels, val_share, seed)
    return _checked(
        Split(
            {"train": kept, "val": held_out, "test": found["test"]},
            absent={
                half: tuple(name for name in of if name not in rows)
                for half, of in (("train", train), ("test", test))
            },
            unlisted=tuple(name for name in rows if name not in listed),
        )
    )


def group_split(
    labels: NDArray[np.int64],
    groups: NDArray[np.str_],
    test_share: float = 0.1,
    val_share: float = 0.1,
    seed: int = 0,
) -> Split:
    """Make splits that share no group (no actor, no source video), stratified by class.

    Groups are dealt in a random order, large ones first, each to the split that is then closest to
    its share of every class.

    Args:
        labels: Class of each row of the store.
        groups: Group of each row.
        test_share: Share of each class in the test split.
        val_share: Share of each class **of the rest** in the validation split.
        seed: Seed of the order.

    Raises:
        SplitError: A row has no group, or a split gets no clips.
    """
    if not all(groups.tolist()):
        raise SplitError("a clip in the store has no group, so nothing can be split by group")
    _check_share("test_share", test_share)
    _check_share("val_share", val_share)
    members, inverse = np.unique(groups, return_inverse=True)
    counts = np.zeros((len(members), int(labels.max(initial=0)) + 1))
    np.add.at(counts, (inverse, labels), 1)
    val = (1 - test_share) * val_share
    targets = np.outer([1 - test_share - val, val, test_share], counts.sum(axis=0))
    order = np.random.default_rng([seed, 2]).permutation(len(members))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled, owner = np.zeros_like(targets), np.empty(len(members), np.int64)
    for left, group in zip(range(len(order), 0, -1), order, strict=True):
        # What every split would lack or exceed, relative to its share, before and after.
        before = ((filled - targets) ** 2 / np.maximum(targets, 1)).sum(axis=1)
        after = ((filled + counts[group] - targets) ** 2 / np.maximum(targets, 1)).sum(axis=1)
        # The last groups are for those that have none: no share is so small that it gets nothing.
        empty = filled.sum(axis=1) == 0
        barred = ~empty if left <= empty.sum() else np.zeros(len(SPLITS), bool)
        owner[group] = np.argmin(np.where(barred, np.inf, after - before))
        filled[owner[group]] += counts[group]
    rows = {name: np.flatnonzero(owner[inverse] == i) for i, name in enumerate(SPLITS)}
    split = _checked(Split(rows))
    check_groups(split, groups)
    return split


def shared_split(
    labels: NDArray[np.int64],
    groups: NDArray[np.str_] | None,
    val_share: float,
    test_share: float,
    seed: int,
) -> Split:
    """Deal out all rows by class, or by group where there are groups, in shares of the whole.

    Args:
        labels: Class of each row.
        groups: Group of each row, of which none is in two splits.
        val_share: Share of all rows in the validation split.
        test_share: Share of all rows in the test split.
        seed: Seed of the splits.

    Raises:
        SplitError: A split gets no rows.
    """
    of_rest = val_share / (1 - test_share)
    if groups is not None:
        return group_split(labels, groups, test_share, of_rest, seed)
    rest, test = hold_out(np.arange(len(labels)), labels, test_share, seed)
    train, val = hold_out(rest, labels, of_rest, seed)
    return Split({"train": train, "val": val, "test": test})


def hold_out(
    rows: NDArray[np.int64], labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows in two, the second with ``share`` of each class: at least one clip if it has two.

    Raises:
        SplitError: ``share`` is not between 0 and 1.
    """
    _check_share("val_share", share)
    rng = np.random.default_rng([seed, 1])
    held_out: list[int] = []
    for label in np.unique(labels[rows]):
        members = rng.permutation(rows[labels[rows] == label])
        count = max(round(share * len(members)), 1) if len(members) > 1 else 0
        held_out += members[:count].tolist()
    chosen = np.array(sorted(held_out), np.int64)
    return np.setdiff1d(rows, chosen), chosen


def check_groups(split: Split, groups: NDArray[np.str_]) -> None:
    """Make sure that no group is in two splits.

    Raises:
        SplitError: One is; the message names some.
    """
    members = {name: set(groups[rows].tolist()) for name, rows in split.rows.items()}
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        if leaked := sorted(members[one] & members[other]):
            raise SplitError(f"{len(leaked)} groups are in {one} and in {other}: {some(leaked)}")


def _checked(split: Split) -> Split:
    if empty := [name for name in SPLITS if not len(split.rows[name])]:
        lost = {half: len(names) for half, names in split.absent.items()}
        raise SplitError(
            f"no clips for {' and '.join(empty)}; "
            + (f"listed, but not in the store: {lost}" if lost else "there are too few groups")
        )
    rows = np.concatenate([split.rows[name] for name in SPLITS])
    if len(np.unique(rows)) != len(rows):
        raise SplitError("a clip is in two splits")
    return split


def _check_share(name: str, share: float) -> None:
    if not 0 < share < 1:
        raise SplitError(f"{name} must be between 0 and 1, got {share}")


def _shared_groups(rows: Mapping[str, NDArray[np.int64]], groups: NDArray[np.str_]) -> str:
    train, test = (set(groups[rows[split]].tolist()) for split in ("train", "test"))
    return f"groups in train {len(train)}, in test {len(test)}, in both {len(train & test)}"
