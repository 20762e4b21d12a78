"""What a user is told: at the start, at the end, on resuming, and where something is wrong."""

import re
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from helpers.modules import CLASSES, Late, encoder_paths, make_batches
from helpers.set_ups import always, fit, linear_share, lines_said, log_p, mean
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.core.window import PaperWindow

IDLE = "no period of this training can be regulated"


def paper(**settings):
    return InfoRegCallback(encoder_paths(), head="head", **settings)


def warnings_of(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function()
    return [str(warning.message) for warning in caught]


class Streaming(Late):
    """A loader that does not know its length."""

    def train_dataloader(self):
        batches = self.batches

        class Stream(IterableDataset):
            def __iter__(self):
                return iter(batches)

        return DataLoader(Stream(), batch_size=None)


@pytest.mark.parametrize(
    ("module", "settings", "window"),
    [
        (Late, {"max_epochs": 2}, {}),
        (Late, {"max_epochs": 1}, {}),
        (Late, {"max_epochs": 2}, {"window": "outside"}),
        (Late, {"max_epochs": 2}, {"window": (3, None)}),
        (Late, {"max_epochs": 9, "max_steps": 8}, {}),
        (Late, {"max_epochs": 9, "max_steps": 4, "limit_train_batches": 2}, {}),
        (Late, {"max_epochs": 9, "max_steps": 4, "accumulate_grad_batches": 2}, {}),
        (Late, {"max_epochs": 2}, {"period": 4}),
        (Late, {"max_epochs": 2, "limit_train_batches": 2}, {"period": 2}),
        (Streaming, {"max_epochs": 1}, {}),
    ],
)
def test_a_training_too_short_for_its_window_is_told_what_to_write(module, settings, window):
    said = [
        line
        for line in warnings_of(lambda: fit(module(), paper(**window), **settings))
        if IDLE in line
    ]
    assert len(said) == 1
    period = re.search(r"Pass period=(\d+),", said[0])
    assert period, said[0]
    if module is Late:
        cured = window | {"period": int(period[1])}
        assert not [
            line
            for line in warnings_of(lambda: fit(Late(), paper(**cured), **settings))
            if IDLE in line
        ], "what it says helps"


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        ({"max_epochs": 3}, {}),
        ({"max_epochs": 2}, {"window": "always"}),
        ({"max_epochs": 2}, {"window": "never"}),
        ({"max_epochs": 2}, {"window": "adaptive"}),
        ({"max_epochs": 9, "max_steps": 9}, {}),
        ({"max_epochs": 9, "max_steps": 5, "limit_train_batches": 2}, {}),
        ({"max_epochs": 1}, {"period": 1}),
        ({"max_epochs": -1, "max_steps": 12}, {}),
    ],
)
def test_a_training_that_is_long_enough_is_told_nothing(settings, window):
    said = warnings_of(lambda: fit(Late(), paper(**window), **settings))
    assert not [line for line in said if IDLE in line]


def test_the_periods_of_a_resumed_run_count_from_where_it_began(tmp_path):
    fit(Late(), paper(), max_epochs=2).save_checkpoint(tmp_path / "two.ckpt")
    for epochs, is_told in ((3, False), (4, False)):
        said = warnings_of(
            lambda n=epochs: fit(Late(), paper(), max_epochs=n, ckpt_path=tmp_path / "two.ckpt")
        )
        assert bool([line for line in said if IDLE in line]) == is_told
    fit(Late(), None, max_epochs=2).save_checkpoint(tmp_path / "without.ckpt")
    said = warnings_of(
        lambda: fit(Late(), paper(), max_epochs=4, ckpt_path=tmp_path / "without.ckpt")
    )
    assert [line for line in said if IDLE in line], "the callback has seen none of the two"


RESUMED = [
    ({"beta": 0.5}, {"beta": 0.7}, "beta=0.5 -> 0.7"),
    ({"K": 0.02}, {"K": 0.05}, "K=0.02 -> 0.05"),
    ({"window": (0, 4)}, {"window": (0, 9)}, "stop=4"),
    ({"gap": "weaker"}, {"gap": "others"}, "gap='weaker' -> 'others'"),
    ({"window": "paper"}, {"window": "always"}, "PaperWindow"),
    ({"beta": 0.5}, {"beta": np.float64(0.5)}, None),
    ({"beta": 1}, {"beta": np.int64(1)}, None),
    ({"K": 0.25}, {"K": np.float32(0.25)}, None),
    ({"window": (0, 4)}, {"window": [np.int64(0), np.int64(4)]}, None),
    ({"window": "paper", "K": 0.02}, {"window": PaperWindow(0.02), "K": 0.02}, None),
    ({}, {}, None),
]


@pytest.mark.parametrize(("before", "now", "message"), RESUMED, ids=str)
def test_other_settings_than_those_of_the_checkpoint_are_said(tmp_path, before, now, message):
    fit(Late(), paper(**before), max_epochs=1).save_checkpoint(tmp_path / "c.ckpt")
    said = warnings_of(
        lambda: fit(Late(), paper(**now), max_epochs=2, ckpt_path=tmp_path / "c.ckpt")
    )
    of_settings = [line for line in said if "with other settings" in line]
    assert len(of_settings) == (message is not None)
    if message is not None:
        assert message in of_settings[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"beta": "0.9"}, "`beta` must be a number .*, but is '0.9'"),
        ({"K": "0.04"}, r"`K` must be a number in \[0, 1\), but is '0.04'"),
        ({"beta": True}, "`beta` must be a number"),
        ({"ignore_index": "-1"}, "`ignore_index` must be a number"),
        ({"ignore_index": None}, "`ignore_index` must be a number"),
        ({"head": nn.Linear(2, 2)}, "`head` must be an attribute path or None, but is of type Lin"),
    ],
)
def test_arguments_of_the_wrong_kind_are_one_clear_error(arguments, message):
    with pytest.raises(TypeError, match=message):
        InfoRegCallback(**{"encoders": encoder_paths(), "head": "head"} | arguments)


@pytest.mark.parametrize(
    "encoders",
    [
        {"audio": nn.Linear(77, 2), "video": "video_encoder"},
        {"audio": [nn.Linear(77, 2)], "video": "video_encoder"},
        {"audio": ("audio_encoder", nn.Linear(77, 2)), "video": "video_encoder"},
        nn.ModuleDict({"audio": nn.Linear(77, 2), "video": nn.Linear(77, 2)}),
        [nn.Linear(77, 2), nn.Linear(77, 2)],
    ],
)
def test_a_module_in_the_place_of_a_path_is_not_printed(encoders):
    with pytest.raises(TypeError, match="`encoders") as error:
        InfoRegCallback(encoders, head="head")
    assert "77" not in str(error.value)


def test_numbers_of_numpy_are_numbers():
    theirs = always(beta=0.5, K=0.25, window=(0, 4), period=3, target=-1, ignore_index=-1)
    ours = always(
        beta=np.float64(0.5),
        K=np.float32(0.25),
        window=(np.int64(0), np.int32(4)),
        period=np.int64(3),
        target=np.int64(-1),
        ignore_index=np.int64(-1),
    )

    class Tuples(Late):
        def training_step(self, batch, batch_idx):
            names = ("audio", "video", "label")
            return super().training_step(dict(zip(names, batch, strict=True)), batch_idx)

    tuples = [(b["audio"], b["video"], b["label"]) for b in make_batches()]
    fit(Tuples(batches=tuples), ours), fit(Tuples(batches=tuples), theirs)
    assert ours.history == theirs.history
    assert repr(ours) == repr(theirs)


class Manual(Late):
    automatic_optimization = False

    def training_step(self, batch, batch_idx):
        optimizer = self.optimizers()
        optimizer.zero_grad()
        super().training_step(batch, batch_idx).backward()
        optimizer.step()


@pytest.mark.parametrize("period", ["epoch", 3])
def test_a_backward_pass_that_calls_no_hooks_is_refused_by_its_name(period):
    with pytest.raises(ValueError, match=r"call `self.manual_backward\(loss\)` instead of"):
        fit(Manual(), always(period=period))


class CrossAttention(Late):
    class Head(nn.Linear):
        pass

    def make_head(self, width):
        return nn.Linear(4, CLASSES)

    def forward(self, batch):
        z = self.features(batch)
        audio, video = z["audio"][:, None, :4], z["video"][:, None]
        attention = torch.softmax(video @ audio.transpose(1, 2), dim=-1)
        return self.head((video + attention @ audio)[:, 0])


class Sum(CrossAttention):
    def forward(self, batch):
        z = self.features(batch)
        return self.head(z["audio"][:, :4] + z["video"])


class FilmLike(CrossAttention):
    def forward(self, batch):
        z = self.features(batch)
        return self.head(z["audio"][:, :4].sigmoid() * z["video"])


@pytest.mark.parametrize("module", [CrossAttention, Sum, FilmLike])
def test_a_head_whose_inputs_are_mixed_is_refused_with_the_lines_to_write(module):
    with pytest.raises(ValueError, match="mixes modalities") as error:
        fit(module(), always())
    lines = [line.strip() for line in str(error.value).splitlines()]
    assert 'report_unimodal(self, {"audio": logits_audio, "video": logits_video}, target)' in lines
    assert sum(line.startswith(("logits_", "report_unimodal", "return")) for line in lines) == 3


def test_the_lines_at_the_start_and_the_end():
    class Partly(Late):
        def __init__(self):
            super().__init__()
            self.audio_encoder[0].requires_grad_(False)

    callback = always()
    with lines_said() as lines:
        fit(Partly(), callback)
    start, end = lines[:2], lines[-1]
    assert "audio: 101 parameters, 45 of them trained, can be regulated from epoch 0 on" in start[0]
    assert "video: 100 parameters, can be regulated from epoch 0 on" in start[1]
    assert all("its columns of 'head'" in line for line in start)
    assert re.search(r"regulated audio in 2 of 2 epochs, mean α \d", end)
    assert re.search(r"ρ \d", end)


def test_the_lines_of_a_head_that_is_run_and_of_steps():
    class Perceptron(Late):
        def make_head(self, width):
            return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, CLASSES))

    with lines_said() as lines:
        fit(Perceptron(), paper(period=2), max_epochs=3)
    assert "can be regulated from period of 2 steps 2 on; 'head' with the others" in lines[0]
    assert "of 6 periods of 2 steps" in lines[-1]
    with lines_said() as lines:
        fit(Late(), paper(window="never"))
    assert "measured only" in lines[0]
    assert "measured audio in 0 of 2 epochs" in lines[-1]


def test_the_callback_says_what_it_is():
    assert repr(paper(beta=0.5)) == (
        "InfoRegCallback({'audio': 'audio_encoder', 'video': 'video_encoder'}, head='head', "
        "beta=0.5, K=0.04, gap='weaker', window='paper', score='log_prob')"
    )


def test_the_score_of_a_validation_is_that_of_all_its_samples():
    class Validated(Late):
        def validation_step(self, batch, batch_idx):
            self.log("val/loss", F.cross_entropy(self(batch), batch["label"]))

        def val_dataloader(self):
            return DataLoader(self.val_batches, batch_size=None)

    module = Validated()
    module.val_batches = make_batches(batches=2, seed=4)
    module.val_batches.append({k: v[:3] for k, v in make_batches(batches=1, seed=5)[0].items()})
    trainer = fit(module, always())
    whole = {
        key: torch.cat([batch[key] for batch in module.val_batches])
        for key in ("audio", "video", "label")
    }
    z = module.features(whole)
    expected = {
        "audio": log_p(linear_share(module.head, z["audio"], 0, 2), whole["label"]),
        "video": log_p(linear_share(module.head, z["video"], 5, 2), whole["label"]),
    }
    for name, value in expected.items():
        found = float(trainer.callback_metrics[f"val/inforeg/score/{name}"])
        assert found == pytest.approx(value, rel=1e-6)
    plain = Validated()
    plain.val_batches = module.val_batches
    never = fit(plain, None)
    assert not [key for key in never.callback_metrics if "inforeg" in key]


def test_a_validation_without_targets_is_said_and_not_scored():
    class Blind(Late):
        def validation_step(self, batch, batch_idx):
            self({"audio": batch["sound"], "video": batch["video"]})

        def val_dataloader(self):
            batches = [{"sound": b["audio"], "video": b["video"]} for b in make_batches(batches=2)]
            return DataLoader(batches, batch_size=None)

    with pytest.warns(UserWarning, match="validation is not scored"):
        trainer = fit(Blind(), always())
    assert not [key for key in trainer.callback_metrics if key.startswith("val/")]


def test_a_plot_shows_the_history():
    pytest.importorskip("matplotlib")
    callback = always()
    with pytest.raises(ValueError, match="no period has ended yet"):
        callback.plot()
    fit(Late(), callback, max_epochs=3)
    figure = callback.plot("score")
    assert [axis.get_title() for axis in figure.axes] == ["audio", "video"]
    for axis, name in zip(figure.axes, ("audio", "video"), strict=True):
        (line,) = axis.lines
        assert [*line.get_xdata()] == [0, 1, 2]
        assert [*line.get_ydata()] == [entry["score"][name] for entry in callback.history]
        assert len(axis.patches) == 3, "every period was in the window"
    with pytest.raises(ValueError, match="`quantity` must be one of"):
        callback.plot("epoch")


def test_a_frame_has_a_row_per_period_and_modality():
    pandas = pytest.importorskip("pandas")
    callback = always()
    fit(Late(), callback, max_epochs=3)
    frame = callback.frame()
    assert isinstance(frame, pandas.DataFrame)
    assert len(frame) == 6
    audio = frame[frame["modality"] == "audio"]
    assert [*audio["trace"]] == [entry["trace"]["audio"] for entry in callback.history]
    assert mean([*frame["steps"]]) == 4
