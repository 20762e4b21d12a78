import numpy as np
import pytest

from inforeg_lightning.data.cremad import CLASSES as CREMAD_CLASSES
from inforeg_lightning.data.kinetics_sounds import CLASSES as KINETICS_SOUNDS_CLASSES
from inforeg_lightning.data.loading.in_memory import SPLITS
from inforeg_lightning.data.loading.splits import (
    Split,
    check_groups,
    group_split,
    hold_out,
    listed_split,
)
from inforeg_lightning.data.prepare.lists import SplitError, read_list

ACTORS = 91


@pytest.fixture(scope="module")
def cremad():
    """Names, labels and actors of a set like CREMA-D: 91 actors of about 82 clips."""
    names = [
        f"{1001 + actor}_S{sentence:02d}_{emotion}_XX"
        for actor in range(ACTORS)
        for sentence in range(14 if actor % 5 else 11)
        for emotion in CREMAD_CLASSES
        if (sentence, emotion) != (3, "NEU")
    ]
    parts = [name.split("_") for name in names]
    labels = np.array([CREMAD_CLASSES.index(part[2]) for part in parts])
    return names, labels, np.array([part[0] for part in parts])


def shares_of_classes(labels, rows):
    return np.bincount(labels[rows], minlength=6) / len(rows)


def test_class_tables_are_the_published_ones():
    assert CREMAD_CLASSES == ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")
    assert len(KINETICS_SOUNDS_CLASSES) == 31
    assert list(KINETICS_SOUNDS_CLASSES) == sorted(KINETICS_SOUNDS_CLASSES)


class TestReadList:
    def write(self, tmp_path, text):
        (tmp_path / "list.csv").write_text(text, encoding="utf-8")
        return tmp_path / "list.csv"

    def test_cremad(self, tmp_path):
        path = self.write(tmp_path, "1088_IOM_NEU_XX,NEU\n1001_DFA_ANG_XX,ANG\n")
        assert read_list(path, CREMAD_CLASSES) == {"1088_IOM_NEU_XX": 0, "1001_DFA_ANG_XX": 5}

    def test_kinetics_sounds(self, tmp_path):
        path = self.write(
            tmp_path, "--4-0ihtnBU_000058_000068,10,4\r\n\r\nab_c_000001_000011,10,30"
        )
        expected = {"--4-0ihtnBU_000058_000068": 4, "ab_c_000001_000011": 30}
        assert read_list(path, KINETICS_SOUNDS_CLASSES) == expected

    def test_a_byte_order_mark_and_a_repeated_line_do_no_harm(self, tmp_path):
        path = self.write(tmp_path, "\ufeffa,NEU\na,NEU\n")
        assert read_list(path, CREMAD_CLASSES) == {"a": 0}

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("a,NEU\nb,JOY\n", r"list.csv, line 2: .* got 'b,JOY'"),
            ("a,6\n", r"a number from 0 to 5\), got 'a,6'"),
            ("a\n", "line 1"),
            ("NEU\n", "line 1"),
            (",NEU\n", "line 1"),
            ("a,NEU\na,HAP\n", "line 2: a is there before with another class"),
            ("\n", "has no clips"),
        ],
    )
    def test_a_wrong_line_is_named(self, tmp_path, text, message):
        with pytest.raises(SplitError, match=message):
            read_list(self.write(tmp_path, text), CREMAD_CLASSES)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(SplitError, match=r"nothing.csv cannot be read"):
            read_list(tmp_path / "nothing.csv", CREMAD_CLASSES)


class TestListedSplit:
    def lists(self, cremad, share=0.1):
        names, labels, _ = cremad
        order = np.random.default_rng(0).permutation(len(names))
        test = set(order[: int(share * len(names))].tolist())
        halves = {"train": {}, "test": {}}
        for row, (name, label) in enumerate(zip(names, labels.tolist(), strict=True)):
            halves["test" if row in test else "train"][name] = label
        return halves

    def test_the_halves_are_the_lists_and_validation_is_of_the_training_half(self, cremad):
        names, labels, _ = cremad
        halves = self.lists(cremad)
        split = listed_split(names, labels, **halves)
        named = {part: {names[row] for row in rows} for part, rows in split.rows.items()}
        assert named["test"] == set(halves["test"])
        assert named["train"] | named["val"] == set(halves["train"])
        assert not named["train"] & named["val"]
        assert len(named["val"]) == pytest.approx(0.1 * len(halves["train"]), abs=6)

    def test_validation_is_stratified_and_fixed_by_the_seed(self, cremad):
        names, labels, _ = cremad
        halves = self.lists(cremad)
        one, same, other = (listed_split(names, labels, **halves, seed=s) for s in (0, 0, 1))
        assert np.array_equal(one.rows["val"], same.rows["val"])
        assert not np.array_equal(one.rows["val"], other.rows["val"])
        assert np.array_equal(one.rows["test"], other.rows["test"])
        train, val = (shares_of_classes(labels, one.rows[part]) for part in ("train", "val"))
        assert np.abs(train - val).max() < 0.005

    def test_a_leak_is_an_error_that_names_clips(self, cremad):
        names, labels, _ = cremad
        halves = self.lists(cremad)
        leaked = list(halves["test"])[:5]
        halves["train"] |= {name: halves["test"][name] for name in leaked}
        examples = ", ".join(sorted(leaked)[:3])
        with pytest.raises(SplitError, match=rf"^5 clips .* list: {examples}, …;"):
            listed_split(names, labels, **halves)

    def test_what_is_not_on_both_sides_is_counted_and_named(self, cremad):
        names, labels, groups = cremad
        halves = self.lists(cremad)
        halves["train"]["9999_AAA_NEU_XX"] = 0
        unlisted = next(iter(halves["test"]))
        del halves["test"][unlisted]
        split = listed_split(names, labels, **halves)
        assert split.absent == {"train": ("9999_AAA_NEU_XX",), "test": ()}
        assert split.unlisted == (unlisted,)
        table = split.table(labels, CREMAD_CLASSES, groups)
        assert "1 of the train list not in the store: 9999_AAA_NEU_XX" in table
        assert f"1 in the store, in no list: {unlisted}" in table

    def test_another_class_than_in_the_store_is_an_error(self, cremad):
        names, labels, _ = cremad
        halves = self.lists(cremad)
        name = next(iter(halves["train"]))
        halves["train"][name] = (halves["train"][name] + 1) % 6
        with pytest.raises(SplitError, match=f"^1 clips have another class .* lists: {name}$"):
            listed_split(names, labels, **halves)

    def test_lists_of_another_data_set_are_an_error(self, cremad):
        names, labels, _ = cremad
        with pytest.raises(SplitError, match="no clips for train and val and test; listed"):
            listed_split(names, labels, {"x": 0}, {"y": 0})


class TestGroupSplit:
    def test_no_actor_is_in_two_splits_and_every_clip_is_in_one(self, cremad):
        _, labels, groups = cremad
        split = group_split(labels, groups)
        check_groups(split, groups)
        rows = np.concatenate([split.rows[part] for part in SPLITS])
        assert np.array_equal(np.sort(rows), np.arange(len(labels)))

    @pytest.mark.parametrize("seed", range(5))
    def test_sizes_and_classes_are_as_asked(self, cremad, seed):
        _, labels, groups = cremad
        split = group_split(labels, groups, test_share=0.2, val_share=0.125, seed=seed)
        for part, share in zip(SPLITS, (0.7, 0.1, 0.2), strict=True):
            rows = split.rows[part]
            assert len(rows) / len(labels) == pytest.approx(share, abs=0.01)
            whole = shares_of_classes(labels, np.arange(len(labels)))
            assert np.abs(shares_of_classes(labels, rows) - whole).max() < 0.01

    def test_unequal_groups_are_stratified_too(self):
        # Every group has mostly one class.
        rng = np.random.default_rng(0)
        groups = np.repeat([f"g{i}" for i in range(60)], rng.integers(5, 15, 60))
        favoured = np.array([int(group[1:]) % 6 for group in groups])
        labels = np.where(rng.random(len(groups)) < 0.9, favoured, rng.integers(0, 6, len(groups)))
        split = group_split(labels, groups, 0.2, 0.2)
        for rows in split.rows.values():
            assert shares_of_classes(labels, rows) == pytest.approx(np.full(6, 1 / 6), abs=0.08)

    def test_it_is_fixed_by_the_seed_and_does_not_depend_on_the_order_of_rows(self, cremad):
        _, labels, groups = cremad
        one, same, other = (group_split(labels, groups, seed=seed) for seed in (0, 0, 1))
        assert np.array_equal(one.rows["test"], same.rows["test"])
        assert not np.array_equal(one.rows["test"], other.rows["test"])
        order = np.random.default_rng(0).permutation(len(labels))
        shuffled = group_split(labels[order], groups[order])
        assert set(groups[order][shuffled.rows["test"]]) == set(groups[one.rows["test"]])

    def test_three_groups_are_enough_and_two_are_not(self):
        labels, groups = np.array([0, 1, 0, 1, 0, 1]), np.array(list("aabbcc"))
        assert [len(rows) for rows in group_split(labels, groups).rows.values()] == [2, 2, 2]
        with pytest.raises(SplitError, match="too few groups"):
            group_split(labels[:4], groups[:4])

    def test_a_clip_without_a_group_is_an_error(self):
        with pytest.raises(SplitError, match="has no group"):
            group_split(np.array([0, 1]), np.array(["a", ""]))


def test_a_group_in_two_splits_is_named():
    groups = np.array(["a", "b", "b", "c"])
    split = Split({"train": np.array([0, 1]), "val": np.array([3]), "test": np.array([2])})
    with pytest.raises(SplitError, match=r"1 groups are in train and in test: b$"):
        check_groups(split, groups)


def test_holding_out_leaves_every_class_a_clip():
    labels = np.array([0] * 20 + [1] * 2 + [2])
    kept, held_out = hold_out(np.arange(23), labels, 0.1, seed=0)
    assert np.bincount(labels[held_out]).tolist() == [2, 1]
    assert np.bincount(labels[kept]).tolist() == [18, 1, 1]


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_impossible_shares_are_refused(share):
    labels, groups = np.zeros(3, int), np.array(list("abc"))
    with pytest.raises(SplitError, match=r"val_share must be between 0 and 1"):
        hold_out(np.arange(3), labels, share, 0)
    with pytest.raises(SplitError, match=r"test_share must be between 0 and 1"):
        group_split(labels, groups, test_share=share)


def test_the_table_counts_every_class_of_every_split(cremad):
    _, labels, groups = cremad
    split = group_split(labels, groups)
    lines = split.table(labels, CREMAD_CLASSES, groups).splitlines()
    assert lines[0].split() == ["class", *SPLITS]
    assert [line.split()[0] for line in lines[1:7]] == list(CREMAD_CLASSES)
    assert int(lines[6].split()[1]) == int((labels[split.rows["train"]] == 5).sum())
    assert [int(cell) for cell in lines[7].split()[1:]] == [len(split.rows[s]) for s in SPLITS]
    assert lines[8].endswith("in both 0")
