"""Hateful Memes as they are distributed: what is read, and what is refused."""

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.meme_files import write_lines, write_memes
from inforeg_lightning.data import HatefulMemesDataModule
from inforeg_lightning.data.loading.augment import IMAGENET_MEAN, IMAGENET_STD


@pytest.fixture
def tree(tmp_path):
    return tmp_path, write_memes(tmp_path)


def load(root, **settings):
    data = HatefulMemesDataModule(root, num_workers=0, **settings)
    data.check()
    data.setup()
    return data


def test_pictures_words_and_labels_stay_together(tree):
    root, lines = tree
    data = load(root, words=5, batch_size=4)
    batch = next(iter(data.test_dataloader()))
    assert batch["label"].tolist() == [line["label"] for line in lines["test_seen"][:4]]
    assert batch["image"].shape == (4, 3, 224, 224)
    mean, deviation = (torch.tensor(of).view(3, 1, 1) for of in (IMAGENET_MEAN, IMAGENET_STD))
    green = (batch["image"] * deviation + mean)[:, 1].mean(dim=(1, 2)) * 255
    assert all((green > 120) == (batch["label"] == 1))
    # The third word is "kind" or "cruel", by the label.
    words = dict(zip(batch["label"].tolist(), batch["text"][:, 2].tolist(), strict=True))
    assert words[0] != words[1]
    assert batch["text"].shape == (4, 5)


def test_a_picture_is_the_middle_of_256_pixels_normalised(tree):
    root, lines = tree
    data = load(root)
    found = data._splits["val"][0]["image"]
    with Image.open(root / lines["dev_seen"][0]["img"]) as file:
        whole = file.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
    expected = np.asarray(whole)[16:240, 16:240].astype(np.float64) / 255
    expected = (expected - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), atol=1e-5)


def test_the_vocabulary_is_of_the_training_memes(tree):
    root, lines = tree
    lines["test_seen"][0]["text"] = "its a zebra word,"
    write_lines(root / "test_seen.jsonl", lines["test_seen"])
    data = load(root, words=6)
    row, other = data._splits["test"].words[:2]
    assert row[2] == 1  # unknown
    assert other[2] > 1
    assert row[:2].tolist() == other[:2].tolist()
    assert row.tolist()[5:] == [0]  # its, a, zebra, word, the comma
    assert int(data._splits["train"].words.max()) < data.vocabulary


def test_the_order_depends_on_the_seed(tree):
    root, _ = tree
    orders = [
        torch.cat([b["text"] for b in load(root, seed=seed).train_dataloader()]).tolist()
        for seed in (0, 0, 1)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_the_older_names_are_read_too(tree):
    root, lines = tree
    (root / "dev_seen.jsonl").rename(root / "dev.jsonl")
    (root / "test_seen.jsonl").rename(root / "test.jsonl")
    assert len(load(root)._splits["test"]) == len(lines["test_seen"])


@pytest.mark.parametrize("name", ["train", "dev_seen", "test_seen"])
def test_a_missing_list_shows_the_layout(tree, name):
    root, _ = tree
    (root / f"{name}.jsonl").unlink()
    with pytest.raises(FileNotFoundError, match=rf"there is no {name}\.jsonl.*Expected below root"):
        load(root)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, "line 3 has no label, as the test.jsonl of the challenge"),
        ({"label": 2}, "line 3 must have a label of 0 or 1"),
        ({"text": 5}, "line 3 must have a label of 0 or 1 and a text"),
        ({"img": None}, "line 3 must be a JSON object with img, text and label"),
    ],
)
def test_a_wrong_line_is_one_clear_error(tree, change, message):
    root, lines = tree
    lines["test_seen"][2] |= change
    write_lines(root / "test_seen.jsonl", lines["test_seen"])
    with pytest.raises(ValueError, match=message):
        load(root)


def test_a_missing_or_broken_picture_is_named(tree):
    root, lines = tree
    path = root / lines["train"][1]["img"]
    path.write_bytes(b"no picture")
    with pytest.raises(ValueError, match=rf"{path.name} cannot be read as a picture"):
        list(load(root).train_dataloader())
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"there is no .*{path.name} \(.*line 2\)"):
        load(root)


def test_text_that_is_no_json_is_one_clear_error(tree):
    root, _ = tree
    (root / "train.jsonl").write_text("id,img,label\n")
    with pytest.raises(ValueError, match=r"train\.jsonl, line 1 must be a JSON object"):
        load(root)
