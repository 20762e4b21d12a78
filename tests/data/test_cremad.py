import logging

import numpy as np
import pytest
import torch

from inforeg_lightning.data import CREMADDataModule
from inforeg_lightning.data.cremad import CLASSES as CREMAD_CLASSES
from inforeg_lightning.data.cremad import rater_accuracies
from inforeg_lightning.data.prepare import SplitError
from inforeg_lightning.data.store import Store, StoreError, StoreWriter

ACTORS = range(1001, 1011)
SENTENCES = ("DFA", "IEO")


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """The same clips, prepared with the published lists and without."""
    root = tmp_path_factory.mktemp("cremad")
    rng = np.random.default_rng(0)
    for name, with_lists in (("listed", True), ("unlisted", False)):
        with StoreWriter(root / name, {"data": "cremad"}) as writer:
            for actor in ACTORS:
                for sentence in SENTENCES:
                    for label, emotion in enumerate(CREMAD_CLASSES):
                        test = (actor + label) % 10 == 0
                        writer.add(
                            f"{actor}_{sentence}_{emotion}_XX",
                            label,
                            rng.integers(0, 256, (4, 24, 32, 3), dtype=np.uint8),
                            rng.standard_normal((257, 188)),
                            group=str(actor),
                            split=("test" if test else "train") if with_lists else "",
                        )
            writer.reject("1099_DFA_ANG_XX", "video: truncated")
    return root


def module(stores, name="listed", **settings):
    settings = {"num_workers": 0, "batch_size": 16} | settings
    data = CREMADDataModule(stores / name, **settings)
    data.setup()
    return data


def write_lists(stores, folder):
    store = Store(stores / "listed")
    files = {}
    for half in ("train", "test"):
        rows = np.flatnonzero(store.splits == half)
        lines = [f"{store.names[row]},{CREMAD_CLASSES[store.labels[row]]}\n" for row in rows]
        files[f"{half}_list"] = folder / f"{half}.csv"
        files[f"{half}_list"].write_text("".join(lines))
    return files


def test_batches_are_those_of_the_published_loader(stores):
    data = module(stores)
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        batch = data.on_after_batch_transfer(next(iter(loader)), 0)
        size = len(batch["label"])
        for name in data.modalities:
            assert tuple(batch[name].shape) == (size, *data.shapes[name])
            assert batch[name].dtype == torch.float32
        assert batch["label"].dtype == torch.int64
        # Normalised as ImageNet is: [0, 255] is about [-2.1, 2.6].
        assert -2.2 < batch["video"].min() < -1
        assert 1 < batch["video"].max() < 2.7


def test_the_published_halves_and_a_slice_of_training(stores):
    data = module(stores)
    store = Store(stores / "listed")
    assert set(store.splits[data.split.rows["test"]]) == {"test"}
    assert set(store.splits[data.split.rows["train"]]) == {"train"}
    assert set(store.splits[data.split.rows["val"]]) == {"train"}
    assert "groups in train 10, in test 6, in both 6" in data.table()
    assert "1 could not be prepared" in data.table()


def test_lists_given_to_training_are_those_given_to_preparation(stores, tmp_path):
    ours = module(stores, "unlisted", **write_lists(stores, tmp_path)).split
    theirs = module(stores).split
    assert all(np.array_equal(ours.rows[part], theirs.rows[part]) for part in ours.rows)


def test_no_lists_at_all_is_an_error_that_says_what_to_do(stores):
    with pytest.raises(
        SplitError, match=r"give train_list and test_list, or download=True .* or split='group'"
    ):
        module(stores, "unlisted")


def test_listed_clips_that_are_not_there_are_told(stores, tmp_path, caplog):
    lists = write_lists(stores, tmp_path)
    with lists["train_list"].open("a") as file:
        file.write("1099_DFA_ANG_XX,ANG\n")
    with caplog.at_level(logging.INFO):
        module(stores, **lists)
    assert "1 of the train list not in the store: 1099_DFA_ANG_XX" in caplog.text
    assert "1 listed clips are not in the store" in caplog.text
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_actors_kept_apart(stores):
    data = module(stores, split="group", test_share=0.2, val_share=0.25)
    groups = Store(stores / "listed").groups
    actors = {part: set(groups[rows]) for part, rows in data.split.rows.items()}
    assert {part: len(of) for part, of in actors.items()} == {"train": 6, "val": 2, "test": 2}
    assert len(set().union(*actors.values())) == 10


def test_the_seed_changes_training_batches_and_no_split(stores):
    one, two = module(stores, seed=0), module(stores, seed=1)
    for part in ("train", "val", "test"):
        assert np.array_equal(one.split.rows[part], two.split.rows[part])
    batches = [next(iter(data.train_dataloader())) for data in (one, two)]
    assert not torch.equal(batches[0]["label"], batches[1]["label"])
    tests = [next(iter(data.test_dataloader())) for data in (one, two)]
    assert all(torch.equal(tests[0][key], tests[1][key]) for key in tests[0])


def test_cropped_in_the_loader_or_on_the_device_is_the_same(stores):
    here, there = module(stores), module(stores, crop_on="loader")
    ours = here.on_after_batch_transfer(next(iter(here.train_dataloader())), 0)
    theirs = there.on_after_batch_transfer(next(iter(there.train_dataloader())), 0)
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_a_missing_store_gives_the_command_that_makes_it(tmp_path):
    data = CREMADDataModule(tmp_path / "nothing")
    how = r"argument store\); make it, once, .* prepare\(CREMADRecipe\(\), root, store\)"
    with pytest.raises(StoreError, match=how):
        data.setup()
    with pytest.raises(RuntimeError, match=r"call setup\(\) first"):
        data.train_dataloader()


def test_the_store_of_another_data_set_is_refused(tmp_path):
    with StoreWriter(tmp_path / "store", {"data": "kinetics_sounds"}) as writer:
        writer.add("a", 0, np.zeros((4, 8, 8, 3), np.uint8), np.zeros((128, 1024)))
    with pytest.raises(StoreError, match=r"is of kinetics_sounds, not of CREMA-D"):
        CREMADDataModule(tmp_path / "store").setup()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"split": "random"}, "split must be 'published' or 'group', got 'random'"),
        ({"crop_on": "gpu"}, "crop_on must be 'device' or 'loader', got 'gpu'"),
        ({"train_list": "x"}, "train_list and test_list must be given both"),
    ],
)
def test_wrong_arguments_are_refused_at_once(settings, message):
    with pytest.raises(ValueError, match=message):
        CREMADDataModule("nowhere", **settings)


SUMMARY = '"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote"'


def summary_table(path, rows):
    lines = [f'"{i}","{n}","{v}","50","{f}","60","{b}"' for i, (n, v, f, b) in enumerate(rows)]
    path.write_text("\n".join([SUMMARY, *lines]) + "\n")
    return path


def test_raters_are_right_where_most_name_the_intended_emotion_and_a_tie_is_not(tmp_path):
    rows = [
        ("1001_DFA_ANG_XX", "A", "A", "A"),
        ("1001_DFA_SAD_XX", "N", "S", "S"),
        ("1001_DFA_HAP_XX", "H:N", "H", "H"),
        ("1001_DFA_NEU_XX", "S", "N:S", "N"),
    ]
    found = rater_accuracies(summary_table(tmp_path / "summaryTable.csv", rows))
    assert found == {"audio": 0.25, "video": 0.75, "fused": 1.0}


def test_another_table_is_refused(tmp_path):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(
        ValueError, match=r"is not CREMA-D's summaryTable\.csv.*but has \['a', 'b'\]"
    ):
        rater_accuracies(tmp_path / "other.csv")
    odd = summary_table(tmp_path / "summaryTable.csv", [("clip1", "A", "A", "A")])
    with pytest.raises(ValueError, match="'clip1' is no name of a clip"):
        rater_accuracies(odd)
