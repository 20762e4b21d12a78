"""InfoRegCallback through a real Trainer: both ways in, history, logs, periods, and going on."""

import csv
import json
import math

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.loggers import CSVLogger
from torch import nn

from helpers.modules import (
    CLASSES,
    Late,
    assert_same_weights,
    encoder_paths,
    make_batches,
    snapshot,
)
from helpers.regulated import always, fit
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, report_unimodal
from inforeg_lightning.core.scores import linear_unimodal_logits


class Reporting(Late):
    """Reports unimodal logits instead of having them found."""

    def training_step(self, batch, batch_idx):
        features = self.features(batch)
        logits = linear_unimodal_logits(self.head.weight, self.head.bias, features)
        report_unimodal(self, dict(reversed(logits.items())), batch["label"])
        return F.cross_entropy(sum(logits.values()), batch["label"])


class Gated(Late):
    """A head of two inputs that is not linear, with dropout."""

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.audio, self.video = nn.Linear(5, CLASSES), nn.Linear(4, CLASSES)
            self.drop = nn.Dropout(0.5)

        def forward(self, audio, *, video):
            return self.drop(self.audio(audio)) * self.video(video).sigmoid()

    def make_head(self, width):
        return self.Head()

    def forward(self, batch):
        features = self.features(batch)
        return self.head(features["audio"], video=features["video"])


def test_reported_logits_train_as_found_ones_do():
    found, reported = always(), InfoRegCallback(encoder_paths(), window="always")
    first, second = (
        fit(Late(), found, max_epochs=3)["module"],
        fit(Reporting(), reported, max_epochs=3)["module"],
    )
    for name, weight in snapshot(first).items():
        torch.testing.assert_close(snapshot(second)[name], weight, rtol=0, atol=1e-10)
    assert reported.history[-1]["gap"] == pytest.approx(found.history[-1]["gap"])


def test_any_other_head_is_run_with_the_other_features_zeroed():
    torch.manual_seed(0)
    callback = always()
    module = Gated(batches=make_batches(batches=1), lr=0.0)
    fit(module, callback, max_epochs=1)
    (batch,) = module.batches
    module.eval()
    with torch.no_grad():
        features = module.features(batch)
        zero = {name: torch.zeros_like(z) for name, z in features.items()}
        for name in features:
            logits = module.head(**{k: (features if k == name else zero)[k] for k in features})
            log_p = logits.log_softmax(1)[torch.arange(len(logits)), batch["label"]].mean()
            assert callback.history[0]["score"][name] == pytest.approx(float(log_p))


def test_a_head_with_dropout_and_batch_norm_trains_as_without_the_callback():
    class Normed(Gated):
        class Head(Gated.Head):
            def forward(self, audio, *, video):
                return super().forward(self.norm(audio), video=video)

            def __init__(self):
                super().__init__()
                self.norm = nn.BatchNorm1d(5)

    runs = []
    for callbacks in ([], [InfoRegCallback(encoder_paths(), head="head", window="never")]):
        torch.manual_seed(0)
        module = Normed()
        quiet_trainer(max_epochs=2, callbacks=callbacks).fit(module)
        runs.append(module)
    assert_same_weights(snapshot(runs[0]), snapshot(runs[1]))
    assert torch.equal(runs[0].head.norm.running_mean, runs[1].head.norm.running_mean)
    assert runs[0].head.training


@pytest.mark.parametrize("order", [["audio", "video"], ["video", "audio"]])
def test_features_are_found_in_whatever_order_they_are_concatenated(order):
    class Swapped(Late):
        def forward(self, batch):
            features = self.features(batch)
            return self.head(torch.cat([features[name] for name in order], dim=1))

    callback = always()
    module = Swapped(batches=make_batches(batches=1), lr=0.0)
    fit(module, callback, max_epochs=1)
    (batch,) = module.batches
    features = {name: module.features(batch)[name] for name in order}
    logits = linear_unimodal_logits(module.head.weight, module.head.bias, features)
    for name, value in logits.items():
        score = -F.cross_entropy(value.detach(), batch["label"])
        assert callback.history[0]["score"][name] == pytest.approx(float(score))


def test_history_is_plain_and_says_what_was_done():
    callback = always()
    module = fit(Late(), callback, max_epochs=3)["module"]
    assert json.loads(json.dumps(callback.history)) == callback.history
    assert [entry["epoch"] for entry in callback.history] == [0, 1, 2]
    assert [entry["period"] for entry in callback.history] == [0, 1, 2]
    assert [entry["step"] for entry in callback.history] == [4, 8, 12]
    assert {entry["steps"] for entry in callback.history} == {4}
    assert callback.history[0]["change"] == {"audio": None, "video": None}
    for before, entry in zip(callback.history, callback.history[1:], strict=False):
        trace, previous = entry["trace"]["audio"], before["trace"]["audio"]
        assert entry["change"]["audio"] == pytest.approx((trace - previous) / trace)
    last = callback.history[-1]
    assert last["in_window"] == {"audio": True, "video": True}
    assert last["score"]["audio"] > last["score"]["video"]
    assert last["gap"]["video"] == last["alpha"]["video"] == last["penalty"]["video"] == 0.0
    assert 1.0 <= last["alpha"]["audio"] <= math.exp(0.9)
    assert last["penalty"]["audio"] > 0
    rate = module.sgd["lr"] / (1 - module.sgd["momentum"])
    assert last["pull"]["audio"] == pytest.approx(last["alpha"]["audio"] * rate * 4)


def test_the_pull_is_not_defined_for_adam():
    class Adam(Late):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    callback = always()
    fit(Adam(), callback, max_epochs=3)
    assert callback.history[-1]["pull"]["audio"] is None
    assert callback.history[-1]["penalty"]["audio"] > 0


def test_every_quantity_is_logged(tmp_path):
    callback = always()
    logger = CSVLogger(tmp_path)
    trainer = quiet_trainer(max_epochs=2, callbacks=[callback], logger=logger, log_every_n_steps=4)
    trainer.fit(Late())
    for quantity in ("trace", "change", "in_window", "score", "gap", "alpha", "pull", "penalty"):
        for modality in ("audio", "video"):
            logged = trainer.logged_metrics[f"inforeg/{quantity}/{modality}"]
            expected = callback.history[-1][quantity][modality]
            assert float(logged) == pytest.approx(float(expected), rel=1e-6)


def test_periods_of_steps_cut_across_epochs(tmp_path):
    callback = always(period=3)
    logger = CSVLogger(tmp_path)
    fit(Late(), callback, max_epochs=2, logger=logger, log_every_n_steps=4)  # 4 steps an epoch
    assert [entry["step"] for entry in callback.history] == [3, 6]
    assert [entry["epoch"] for entry in callback.history] == [0, 0]
    assert [entry["steps"] for entry in callback.history] == [3, 3]
    logger.save()
    with open(logger.experiment.metrics_file_path) as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["3", "6"]
    assert float(rows[1]["inforeg/trace/audio"]) == callback.history[1]["trace"]["audio"]


def test_a_period_of_an_epochs_steps_is_an_epoch():
    by_epoch, by_steps = always(), always(period=4)
    first, second = (
        fit(Late(), by_epoch, max_epochs=3)["module"],
        fit(Late(), by_steps, max_epochs=3)["module"],
    )
    assert_same_weights(snapshot(first), snapshot(second))
    assert by_epoch.history == by_steps.history


def test_iterable_data_of_unknown_length():
    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(make_batches())

    class Streaming(Late):
        def train_dataloader(self):
            return torch.utils.data.DataLoader(Stream(), batch_size=None)

    callback, expected = always(period=2), always(period=2)
    first, second = (
        fit(Streaming(), callback, max_epochs=1)["module"],
        fit(Late(), expected, max_epochs=1)["module"],
    )
    assert_same_weights(snapshot(first), snapshot(second))
    assert callback.history == expected.history
    assert len(callback.history) == 2


def test_the_window_range_counts_epochs():
    callback = InfoRegCallback(encoder_paths(), head="head", window=(1, 2))
    fit(Late(), callback, max_epochs=3)
    assert [e["in_window"]["audio"] for e in callback.history] == [False, True, False]
    assert [e["alpha"]["audio"] > 0 for e in callback.history] == [False, True, False]


def test_several_paths_make_one_encoder():
    class Split(Late):
        def make_encoder(self, inputs, width):
            return nn.ModuleDict({"stem": nn.Linear(inputs, 8), "top": nn.Linear(8, width)})

        def features(self, batch):
            encoders = {name: getattr(self, f"{name}_encoder") for name in self.names}
            return {n: e["top"](e["stem"](batch[n]).tanh()) for n, e in encoders.items()}

    paths = {n: (f"{n}_encoder.stem", f"{n}_encoder.top") for n in ("audio", "video")}
    callback = InfoRegCallback(paths, head="head", window="always")
    expected = always()
    first, second = (
        fit(Split(), callback, max_epochs=3)["module"],
        fit(Late(), expected, max_epochs=3)["module"],
    )
    assert callback.history == expected.history
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("target", "pack"),
    [
        (None, lambda x, y: {**x, "label": y}),
        ("y", lambda x, y: {**x, "y": y}),
        (None, lambda x, y: (x, y)),
        (0, lambda x, y: [y, x]),
        (lambda batch: batch[1]["deep"], lambda x, y: (x, {"deep": y})),
    ],
)
def test_the_target_stands_where_the_user_says(target, pack):
    class Packed(Late):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch_of[batch_idx], batch_idx)

    batch_of = make_batches()
    packed = [pack({k: v for k, v in b.items() if k != "label"}, b["label"]) for b in batch_of]
    callback, expected = always(target=target), always()
    fit(Packed(batches=packed), callback, max_epochs=3)
    fit(Late(batches=batch_of), expected, max_epochs=3)
    assert callback.history == expected.history


def test_a_score_of_ones_own_for_a_task_without_classes():
    class Regression(Late):
        def make_head(self, width):
            return nn.Linear(width, 1)

        def training_step(self, batch, batch_idx):
            return F.mse_loss(self(batch).squeeze(1), batch["value"])

    batches = [{**b, "value": b["audio"].sum(1)} for b in make_batches()]
    callback = always(target="value", score=lambda z, y: -((z.squeeze(1) - y) ** 2))
    fit(Regression(batches=batches), callback, max_epochs=3)
    assert all(score < 0 for score in callback.history[0]["score"].values())
    assert max(callback.history[-1]["alpha"].values()) > 0
