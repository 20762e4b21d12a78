"""CMU-MOSI in the forms of MultiBench, of MMSA and as CSV files: what is read, cut and cleaned."""

import numpy as np
import pytest
import torch

from helpers.mosi_files import SIZES, WIDTHS, mmsa, multibench, write_mosi, write_utterances
from inforeg_lightning.data import CMUMOSIDataModule
from inforeg_lightning.metrics import SevenClassAccuracy, SignAccuracy, SignF1


def read(root, split="test", **settings):
    """All samples of a split, in order."""
    data = CMUMOSIDataModule(root, **settings)
    data.setup()
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    (batch,) = loader
    return batch


@pytest.fixture
def sentiment():
    return np.asarray(multibench()["test"]["labels"], np.float64).reshape(-1)


def test_each_task_is_made_of_the_label(tmp_path, sentiment):
    write_mosi(tmp_path)
    assert read(tmp_path)["label"].tolist() == (sentiment > 0).astype(int).tolist()
    seven = read(tmp_path, task="seven")["label"]
    assert seven.tolist() == (np.clip(np.rint(sentiment), -3, 3) + 3).astype(int).tolist()
    number = read(tmp_path, task="regression")["label"]
    assert number.dtype == torch.float32
    np.testing.assert_allclose(number, sentiment, rtol=1e-6)
    assert len(read(tmp_path, zeros="drop")["label"]) == (sentiment != 0).sum()
    sizes = {
        task: CMUMOSIDataModule(tmp_path, task=task).num_classes
        for task in ("binary", "seven", "regression")
    }
    assert sizes == {"binary": 2, "seven": 7, "regression": 1}


@pytest.mark.parametrize(
    ("content", "name"), [(multibench, "mosi_data.pkl"), (mmsa, "aligned_50.pkl")]
)
def test_padding_lies_behind_and_is_zeros(tmp_path, content, name):
    write_mosi(tmp_path, content(), name)
    batch = read(tmp_path)
    real = (np.asarray(multibench()["test"]["text"]) != 0).any(axis=2)
    frames = batch["text"].abs().sum(dim=2) > 0
    assert frames.sum(dim=1).tolist() == real.sum(axis=1).tolist()
    assert not (frames[:, 1:] & ~frames[:, :-1]).any()  # no frame after padding
    assert all(torch.isfinite(batch[m]).all() for m in WIDTHS)


def test_a_file_that_runs_code_is_refused(tmp_path):
    class Runs:
        def __reduce__(self):
            return print, ("ran",)

    write_mosi(tmp_path, {"train": Runs()})
    data = CMUMOSIDataModule(tmp_path)
    data.check()
    with pytest.raises(RuntimeError, match=r"builtins\.print, which is neither a NumPy array"):
        data.setup()


def test_a_missing_file_shows_the_layout(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"lacks mosi_data\.pkl or .*label\.csv\. Expected"):
        CMUMOSIDataModule(tmp_path).check()


def test_csv_files_are_sequences_of_their_own_length(tmp_path):
    rows = write_utterances(tmp_path)
    batch = read(tmp_path, task="regression")
    wanted = [row["label"] for row in rows if row["mode"] == "test"]
    np.testing.assert_allclose(batch["label"], wanted, rtol=1e-6)
    assert {m: batch[m].shape[2] for m in WIDTHS} == WIDTHS
    assert "present" not in batch
    first = next(row for row in rows if row["mode"] == "test")
    path = tmp_path / "audio" / f"{first['video_id']}_{first['clip_id']}.csv"
    written = np.loadtxt(path, delimiter=",", skiprows=1, dtype=np.float32, ndmin=2)
    np.testing.assert_allclose(batch["audio"][0, : len(written)], written)
    assert not batch["audio"][0, len(written) :].any()
    assert read(tmp_path, max_frames=2)["text"].shape[1] == 2


def test_an_utterance_may_lack_a_file_where_gaps_are_allowed(tmp_path):
    write_utterances(tmp_path, lacking=("audio/test0_1",))
    with pytest.raises(ValueError, match=r"line \d+: there is neither .*audio/test0/1\.csv nor"):
        read(tmp_path)
    batch = read(tmp_path, gaps=True)
    assert batch["present"]["audio"].tolist() == [True, False, *[True] * (SIZES["test"] - 2)]
    assert all(batch["present"]["text"])
    assert not batch["audio"][1].any()


def test_gaps_are_not_those_of_a_pickle(tmp_path):
    write_mosi(tmp_path)
    with pytest.raises(ValueError, match=r"`gaps` are those of label\.csv and its files"):
        read(tmp_path, gaps=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("video_id,clip_id,label,mode\nv,1,nan,train\n", "label must be a finite number"),
        ("video_id,clip_id,label,mode\nv,1,1,dev\n", "mode must be train, valid or test"),
        ("video_id,clip_id,label\nv,1,1\n", "names column 'mode'"),
    ],
)
def test_a_wrong_table_is_one_clear_error(tmp_path, text, message):
    write_utterances(tmp_path)
    (tmp_path / "label.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path)


@pytest.mark.parametrize("text", ["", "a,b\n", "1,2,3,4,5\n1,2\n", "1,2,3,4,5\nx,2,3,4,5\n"])
def test_a_wrong_feature_file_is_named(tmp_path, text):
    write_utterances(tmp_path)
    path = next((tmp_path / "audio").iterdir())
    path.write_text(text)
    with pytest.raises(ValueError, match=str(path)):
        read(tmp_path)


def test_the_metrics_of_sentiment_by_hand():
    preds = torch.tensor([2.6, -0.4, 0.2, -3.9, 1.0, -0.5])
    target = torch.tensor([3.0, 0.0, -1.0, -3.0, 0.6, 1.2])
    found = {}
    for name, metric in (("7", SevenClassAccuracy()), ("2", SignAccuracy()), ("f1", SignF1())):
        metric.update(preds, target)
        found[name] = float(metric.compute())
    # Rounded: 3, 0, 0, -3, 1, 0 of 3, 0, -1, -3, 1, 1.
    assert found["7"] == pytest.approx(4 / 6)
    # Of the five that are not 0 three signs are right. F1 of the three positive ones: 2 of 3 found
    # with 1 false, 2/3; of the two negative ones: 1 of 2 found with 1 false, 1/2.
    assert found["2"] == pytest.approx(3 / 5)
    assert found["f1"] == pytest.approx(3 / 5 * 2 / 3 + 2 / 5 * 1 / 2)
