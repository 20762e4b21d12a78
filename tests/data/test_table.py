"""Data of one's own: what each kind of modality becomes, what is refused, and what may lack."""

import numpy as np
import pytest
import torch

from helpers.own_data import CLASSES, EVERY_KIND, MODALITIES, write_own_data, write_table
from inforeg_lightning.data import TableDataModule

SPLITS = ("train", "val", "test")


@pytest.fixture
def tree(tmp_path):
    """The folder and the rows of its table."""
    return tmp_path, write_own_data(tmp_path)


def load(root, modalities=None, **settings):
    data = TableDataModule(root, EVERY_KIND if modalities is None else modalities, **settings)
    data.check()
    data.setup()
    return data


def whole(data, split):
    """All samples of a split, in order."""
    data.batch_size = 1000
    loaders = {"val": data.val_dataloader, "test": data.test_dataloader}
    if split == "train":
        return data._splits["train"]
    (batch,) = loaders[split]()
    return batch


def test_every_kind_of_modality_needs_no_code(tree):
    pytest.importorskip("av")
    data = load(tree[0], split="part")
    assert data.shapes == {
        "picture": (3, 8, 8),
        "record": (2,),
        "sound": (2, 5),
        "voice": (1, 128, 50),
        "caption": (6,),
    }
    batch = whole(data, "test")
    assert batch["caption"].dtype == torch.int64
    assert {batch[m].dtype for m in ("picture", "record", "sound", "voice")} == {torch.float32}
    assert "present" not in batch


def test_values_are_standardised_over_the_training_split(tree):
    data = load(tree[0], MODALITIES, split="part")
    train = whole(data, "train")
    for modality, over in (("record", 0), ("picture", (0, 2, 3)), ("sound", None)):
        values = train[modality].double()
        mean = values.mean() if over is None else values.mean(dim=over)
        assert mean.abs().max() < 1e-6
        deviation = values.std(correction=0) if over is None else values.std(over, correction=0)
        torch.testing.assert_close(deviation, torch.ones_like(deviation), rtol=1e-5, atol=0)


def test_a_column_that_is_the_same_in_training_is_left_as_it_is(tree):
    root, rows = tree
    for row in rows:
        row["width"] = "0.3" if row["part"] != "test" else "0.5"
    write_table(root, rows)
    data = load(root, {"record": MODALITIES["record"]}, split="part")
    assert whole(data, "val")["record"][:, 0].abs().max() < 1e-9
    torch.testing.assert_close(
        whole(data, "test")["record"][:, 0], torch.full((6,), 0.2), rtol=0, atol=1e-6
    )


def test_classes_in_order_are_numbers_or_named_in_order(tree):
    root, rows = tree
    for i, row in enumerate(rows):
        row["label"] = str((2, 10, -1)[i % 3])
    write_table(root, rows)
    data = load(root, MODALITIES, split="part", task="ordinal")
    assert data.class_names == ("-1", "2", "10")
    assert whole(data, "test")["label"].tolist() == [1, 2, 0, 1, 2, 0]


def test_words_are_those_of_the_training_split(tree):
    root, rows = tree
    # A word of a test caption that no training caption has.
    test = next(i for i, row in enumerate(rows) if row["part"] == "test")
    rows[test]["caption"] = "The zebra one"
    write_table(root, rows)
    data = load(root, {"caption": EVERY_KIND["caption"]}, split="part")
    batch, train = whole(data, "test"), whole(data, "train")["caption"]
    # "the" and "one" are the most frequent words, with "," and "!"; ties go by the alphabet.
    assert batch["caption"][0].tolist() == [int(train[0, 0]), 1, int(train[0, 2]), 0, 0, 0]
    assert int(train.max()) < 12


def test_a_sound_of_a_class_has_its_pitch(tree):
    pytest.importorskip("av")
    data = load(tree[0], {"voice": EVERY_KIND["voice"] | {"standardise": False}}, split="part")
    batch = whole(data, "train")
    loudest = batch["voice"][:, 0, :, :25].mean(dim=2).argmax(dim=1)
    by_class = [sorted({*loudest[batch["label"] == c].tolist()}) for c in range(3)]
    assert all(len(of) == 1 for of in by_class)
    assert by_class == sorted(by_class)  # 300, 700 and 1100 Hz


def test_a_sample_may_lack_a_modality_in_every_way(tree):
    pytest.importorskip("av")
    root, rows = tree
    for row, column in ((0, "picture"), (1, "width"), (3, "clip"), (4, "caption")):
        rows[row][column] = ""
    write_table(root, rows)
    array = np.load(root / "sound.npy")
    array[2, 0, 0] = np.nan
    np.save(root / "sound.npy", array)
    data = load(root, split="part", gaps=True)
    train = whole(data, "train")
    lacking = {m: (~has).nonzero().flatten().tolist() for m, has in train["present"].items()}
    assert lacking == {"picture": [0], "record": [1], "sound": [2], "voice": [3], "caption": [4]}
    for modality, (place,) in lacking.items():
        assert not train[modality][place].any()
        assert torch.isfinite(train[modality].float()).all()
    # What is there is standardised over what is there.
    there = train["record"][train["present"]["record"]].double()
    torch.testing.assert_close(there.mean(0), torch.zeros(2).double(), rtol=0, atol=1e-6)
    shuffled = next(iter(data.train_dataloader()))
    assert shuffled["present"]["picture"].sum() == len(shuffled["label"]) - 1


@pytest.mark.parametrize(
    ("row", "column", "message"),
    [
        (0, "picture", "line 2: picture is empty; fill it in or remove the line"),
        (1, "width", "line 3: width is empty"),
        (4, "caption", "line 6: caption is empty"),
    ],
)
def test_without_gaps_an_empty_cell_is_an_error(tree, row, column, message):
    root, rows = tree
    rows[row][column] = ""
    write_table(root, rows)
    with pytest.raises(ValueError, match=message):
        load(root)


def test_without_gaps_an_array_must_be_finite(tree):
    root, _ = tree
    array = np.load(root / "sound.npy")
    array[7, 1, 2] = np.nan
    np.save(root / "sound.npy", array)
    message = r"sound\.npy, index 7 \(line 9 of samples\.csv\): not all its numbers are finite"
    with pytest.raises(ValueError, match=message):
        load(root, MODALITIES)
    array[7, 1, 2] = np.inf
    np.save(root / "sound.npy", array)
    with pytest.raises(ValueError, match=r"index 7 .* has an infinite number"):
        load(root, MODALITIES, gaps=True)


def test_a_sample_without_any_modality_is_an_error(tree):
    root, rows = tree
    rows[5] |= {"width": "", "caption": ""}
    write_table(root, rows)
    modalities = {m: EVERY_KIND[m] for m in ("record", "caption")}
    with pytest.raises(ValueError, match="line 7: it has no modality; remove the line"):
        load(root, modalities, gaps=True)


def test_a_modality_that_no_training_sample_has_is_an_error(tree):
    root, rows = tree
    for row in rows:
        if row["part"] == "train":
            row["width"] = ""
    write_table(root, rows)
    with pytest.raises(ValueError, match="no sample in train has record"):
        load(root, MODALITIES, split="part", gaps=True)


def test_a_number_is_learnt_as_it_is(tree):
    root, rows = tree
    data = load(root, {"record": MODALITIES["record"]}, label="weight", task="regression")
    assert (data.num_classes, data.class_names) == (1, ("weight",))
    found = torch.cat([whole(data, split)["label"] for split in SPLITS])
    assert found.dtype == torch.float32
    np.testing.assert_allclose(
        sorted(found.tolist()), sorted(float(row["weight"]) for row in rows), rtol=1e-6
    )
    rows[3]["weight"] = "heavy"
    write_table(root, rows)
    with pytest.raises(ValueError, match="line 5: weight must be a finite number, but is 'heavy'"):
        load(root, {"record": MODALITIES["record"]}, label="weight", task="regression")


def test_splits_are_by_class_by_column_or_by_group(tree):
    root, rows = tree
    by_class = load(root, MODALITIES)
    counts = {s: torch.bincount(whole(by_class, s)["label"], minlength=3) for s in SPLITS}
    assert all((of == of[0]).all() for of in counts.values())
    by_column = load(root, MODALITIES, split="part")
    expected = [CLASSES.index(row["label"]) for row in rows if row["part"] == "val"]
    assert whole(by_column, "val")["label"].tolist() == expected
    by_group = load(root, MODALITIES, group="person", val_share=0.3, test_share=0.3)
    assert sum(len(whole(by_group, s)["label"]) for s in SPLITS) == len(rows)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({}, "must have one of columns, array, images, sounds, text"),
        ({"array": "a.npy", "columns": ["b"]}, "must have one of"),
        ({"array": "a.npy", "size": 3}, "has 'size', but array take array, key, standardise"),
        ({"columns": "width"}, "columns must be a list of names"),
        ({"images": "pictures"}, "needs `column`, the column that holds the names"),
        ({"sounds": "clips"}, "needs `column`"),
        ({"images": "p", "column": "c", "size": [0, 3]}, r"size must be \[height, width\]"),
        ({"images": "p", "column": "c", "mode": "CMYK"}, "mode must be RGB or L"),
        ({"sounds": "s", "column": "c", "seconds": 60}, "seconds must be 0.1 to 10.24"),
        ({"text": "caption", "words": 0}, "words must be at least 1"),
        ({"text": "caption", "vocabulary": 2}, "vocabulary must be at least 3"),
    ],
)
def test_a_wrong_modality_is_one_clear_error(tmp_path, of, message):
    with pytest.raises(ValueError, match=message):
        TableDataModule(tmp_path, {"m": of})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": "width"}, "modalities.record has column 'width', which is the label"),
        ({"label": "nothing"}, "`label` names column 'nothing', but the columns are"),
        ({"classes": ["cat", "dog"]}, "label 'owl' is not among `classes`: cat, dog"),
        ({"id": "person"}, "id 'person 0' is that of line 2 too"),
        ({"split": "person"}, "must be one of train, val, test, not 'person 0'"),
        ({"group": "person", "split": "part"}, "groups are in train and in"),
        ({"table": "other.csv"}, "there is no .*other.csv. Expected below root="),
        ({"task": "ordinal"}, "needs `classes`, the labels from the lowest to the highest"),
        ({"task": "binary"}, "needs two labels, no and yes, but there are 3: cat, dog, owl"),
        ({"task": "pixels"}, "`task` must be one of classes, binary, ordinal, regression"),
    ],
)
def test_a_wrong_setting_is_one_clear_error(tree, settings, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(tree[0], MODALITIES, **settings)


@pytest.mark.parametrize("kind", ["images", "sounds"])
def test_a_file_that_is_missing_or_broken_is_named_with_its_line(tree, kind):
    pytest.importorskip("av")
    root, rows = tree
    modality, folder, column = {
        "images": ("picture", "pictures", "picture"),
        "sounds": ("voice", "clips", "clip"),
    }[kind]
    path = root / folder / rows[2][column]
    path.write_bytes(b"nothing of the kind")
    what = "an image" if kind == "images" else "sound"
    with pytest.raises(ValueError, match=rf"line 4: .*{path.name} cannot be read as {what}"):
        load(root, {modality: EVERY_KIND[modality]})
    path.unlink()
    for gaps in (False, True):
        with pytest.raises(ValueError, match=f"line 4: there is no file .*{path.name}"):
            load(root, {modality: EVERY_KIND[modality]}, gaps=gaps)


def test_an_array_that_holds_objects_is_refused(tree):
    root, _ = tree
    np.save(root / "sound.npy", np.array([{"a": 1}] * 30, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="holds Python objects"):
        load(root, MODALITIES)
