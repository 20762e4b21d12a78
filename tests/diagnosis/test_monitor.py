"""A monitor changes nothing, measures what it says, and ends in suspicions."""

import json

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches, snapshot
from helpers.trainers import quiet_trainer
from inforeg_lightning.diagnosis import STATES, ModalityMonitor
from inforeg_lightning.diagnosis.cadence import Cadence, Clock, plan


class Watched(Late):
    """With dropout, which draws from the generator that a monitor must leave alone."""

    def __init__(self, batches=None, **settings):
        super().__init__(batches=batches, **settings)
        self.drop = torch.nn.Dropout(0.3)

    def forward(self, batch):
        return self.head(self.drop(torch.cat(list(self.features(batch).values()), dim=1)))

    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        return DataLoader(make_batches(size=16, batches=3, seed=1), batch_size=None)


class Plain(Watched):
    """Without dropout: what a checkpoint restores."""

    def __init__(self):
        super().__init__()
        self.drop = torch.nn.Identity()


class Unvalidated(Watched):
    validation_step = Late.validation_step
    val_dataloader = Late.val_dataloader


def monitor(**settings):
    given = {"every": 1, "batches": 2} | settings
    return ModalityMonitor(encoder_paths(), "head", target="label", **given)


def fitted(callbacks, module=None, **settings):
    torch.manual_seed(0)
    module = module or Watched()
    trainer = quiet_trainer(callbacks=callbacks, num_sanity_val_steps=0, **settings)
    trainer.fit(module)
    return module, torch.get_rng_state()


@pytest.fixture(scope="module")
def watched():
    callback = monitor()
    module, state = fitted([callback], max_epochs=3)
    return callback, module, state


def test_training_is_bit_identical_and_the_generator_untouched(watched):
    _, module, state = watched
    other, other_state = fitted([], max_epochs=3)
    assert_same_weights(snapshot(module), snapshot(other))
    assert torch.equal(state, other_state)


def test_the_history_holds_what_each_number_may_be(watched):
    callback, _, _ = watched
    assert [entry["epoch"] for entry in callback.history] == [0, 1, 2]
    for entry in callback.history:
        assert entry["steps"] == 2
        assert entry["samples"] == 48
        for modality in ("audio", "video"):
            assert 0 < entry["share"][modality] <= 1
            assert -1 <= entry["agreement"][modality] <= 1
            assert -1 <= entry["drop"][modality] <= 1
            assert 0 <= entry["probe"][modality] <= 1


def test_a_probe_finds_the_modality_that_shows_its_class(watched):
    entry = watched[0].history[-1]
    assert entry["probe"]["audio"] > entry["largest_class"] + 0.1
    assert entry["drop"]["audio"] > 0.1


def test_the_verdict_is_a_paragraph_json_and_marked_as_a_suspicion(watched):
    verdict = watched[0].verdict
    assert verdict.modalities["video"].state in STATES
    assert "suspicions" in str(verdict)
    assert "\n\n" not in str(verdict)
    content = json.loads(verdict.to_json())
    assert content["is_suspicion"] is True
    assert content["modalities"].keys() == {"audio", "video"}


def test_the_picture_has_a_panel_per_number(watched):
    assert len(watched[0].plot().axes) == 4
    assert len(watched[0].plot("share").axes) == 2


def test_the_logger_gets_each_quantity_per_modality(tmp_path):
    logger = CSVLogger(tmp_path)
    fitted([monitor()], max_epochs=1, logger=logger, log_every_n_steps=1)
    header = (tmp_path / "lightning_logs/version_0/metrics.csv").read_text().splitlines()[0]
    for quantity in ("share", "agreement", "probe", "drop", "trace"):
        assert f"monitor/{quantity}/video" in header


def test_without_validation_it_says_so_and_cannot_tell():
    callback = monitor()
    with pytest.warns(UserWarning, match="there is no validation"):
        fitted([callback], Unvalidated(), max_epochs=1)
    assert callback.verdict.verdict == "cannot tell"
    assert any("No validation" in note for note in callback.verdict.notes)


def test_nothing_measured_is_cannot_tell():
    assert monitor().verdict.verdict == "cannot tell"
    with pytest.raises(ValueError, match="train first"):
        monitor().plot()


def test_nan_is_left_out_and_said():
    batches = make_batches()
    batches[-1]["audio"] = batches[-1]["audio"] * torch.nan
    callback = monitor()
    with pytest.warns(UserWarning, match="not finite"):
        fitted([callback], Watched(batches, lr=0.0), max_epochs=1)
    assert callback.history[0]["skipped"] == 1
    assert callback.history[0]["agreement"]["audio"] is None
    assert callback.history[0]["share"]["video"] is not None
    assert any("not finite" in note for note in callback.verdict.notes)


def test_a_modality_that_no_batch_has_is_not_judged():
    class Halved(Watched):
        def features(self, batch):
            found = super().features(batch)
            return found | {"video": torch.zeros_like(found["video"])}

    present = {"video": torch.zeros(8, dtype=torch.bool)}
    batches = [{**b, "present": present} for b in make_batches()]
    held_out = [{**b, "present": present} for b in make_batches(seed=1, batches=3)]
    module = Halved(batches)
    module.val_dataloader = lambda: DataLoader(held_out, batch_size=None)
    callback = monitor(present="present")
    with pytest.warns(UserWarning, match="video"):
        fitted([callback], module, max_epochs=1)
    assert callback.history[0]["share"]["video"] is None
    assert callback.verdict.modalities["video"].state == "cannot tell"
    assert callback.verdict.modalities["audio"].state != "cannot tell"
    assert any("video" in note for note in callback.verdict.notes)


def test_a_resumed_run_has_the_history_of_a_whole_one(tmp_path):
    whole, first, second = monitor(), monitor(), monitor()
    module, _ = fitted([whole], Plain(), max_epochs=3)
    torch.manual_seed(0)
    trainer = quiet_trainer(callbacks=[first], num_sanity_val_steps=0, max_epochs=2)
    trainer.fit(Plain())
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    trainer = quiet_trainer(callbacks=[second], num_sanity_val_steps=0, max_epochs=3)
    resumed = Plain()
    trainer.fit(resumed, ckpt_path=tmp_path / "two.ckpt")
    assert_same_weights(snapshot(resumed), snapshot(module))
    assert second.history == whole.history


class Once(torch.autograd.Function):
    """Allows one backward pass without keeping the graph, as some compiled encoders do."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        if torch._C._autograd._get_current_graph_task_keep_graph():
            raise RuntimeError("this one must not be kept.")
        return gradient


def test_an_encoder_that_goes_backward_once_is_trained_and_not_asked_again():
    class Strict(Watched):
        def features(self, batch):
            found = super().features(batch)
            return found | {"video": Once.apply(found["video"])}

    callback = monitor()
    with pytest.warns(UserWarning, match="agreement of video is not measured"):
        module, _ = fitted([callback], Strict(), max_epochs=2)
    other, _ = fitted([], max_epochs=2)
    assert_same_weights(snapshot(module), snapshot(other))
    assert callback.history[-1]["agreement"]["video"] is None
    assert callback.history[-1]["agreement"]["audio"] is not None
    assert callback.history[-1]["share"]["video"] is not None


def test_accumulated_batches_are_watched_whole():
    callback = monitor(batches=4)
    module, _ = fitted([callback], max_epochs=1, accumulate_grad_batches=2)
    other, _ = fitted([], max_epochs=1, accumulate_grad_batches=2)
    assert_same_weights(snapshot(module), snapshot(other))
    assert callback.history[0]["steps"] == 2


def test_it_stands_beside_a_method_that_acts():
    from inforeg_lightning import InfoRegCallback

    def acting():
        return InfoRegCallback(encoder_paths(), "head", target="label", window="always")

    module, _ = fitted([acting(), monitor()], max_epochs=2)
    other, _ = fitted([acting()], max_epochs=2)
    assert_same_weights(snapshot(module), snapshot(other))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every": 0}, "`every`"),
        ({"batches": 1}, "`batches`"),
        ({"budget": 0.0}, "`budget`"),
        ({"samples": 3}, "`samples`"),
    ],
)
def test_an_argument_out_of_range_is_named(settings, message):
    with pytest.raises(ValueError, match=message):
        monitor(**settings)


def test_without_a_head_it_says_what_to_give():
    with pytest.raises(ValueError, match="needs `head`"):
        ModalityMonitor(encoder_paths())


@pytest.mark.parametrize("epochs", [1, 3, 30, 200])
@pytest.mark.parametrize("steps", [50, 400, 5000])
def test_a_plan_keeps_to_its_budget_and_ends_with_the_last_epoch(epochs, steps):
    measured, batches = plan(epochs, steps, 0.02)
    assert epochs - 1 in measured
    assert batches >= 2
    assert batches % 2 == 0
    assert len(measured) * batches <= max(0.02 * epochs * steps, 2)


def test_a_plan_without_a_known_end_measures_ever_more_rarely():
    assert plan(float("inf"), 100, 0.02) == (None, 2)
    assert plan(10, float("inf"), 0.02) == (frozenset({9}), 2)


class Seconds:
    """A clock that tests set."""

    def __init__(self):
        self.at = 0.0

    def __call__(self):
        return self.at


def spend(seconds, clock, amount):
    with clock, clock:  # nested blocks count once
        seconds.at += amount


def test_a_cadence_drops_what_the_budget_does_not_allow_and_keeps_the_last_in_mind():
    seconds = Seconds()
    clock = Clock(seconds)
    cadence = Cadence(0.02, clock, epochs=10)
    seconds.at += 10.0  # an epoch: the whole will take 100, so that 2 are allowed
    assert cadence.affords(1)
    cadence.begin()
    spend(seconds, clock, 0.9)
    cadence.end()
    assert clock.spent == pytest.approx(0.9)
    seconds.at += 9.1
    # 0.9 are spent; this epoch and the last would take as much again each: 2.7 of 2.
    assert not cadence.affords(2)
    seconds.at += 100.0  # epochs have become slower
    assert cadence.affords(3)


def test_a_cadence_watches_fewer_batches_where_steps_are_short():
    def cadence_after(seconds_each):
        seconds = Seconds()
        cadence = Cadence(0.02, Clock(seconds), epochs=10)
        seconds.at += 32 * 9 * seconds_each
        return cadence.batches(6, trained=9.0, step=32 * 9)

    # 320 steps of 9 ms allow 58 ms: 18 besides the rest, which is not two steps; of 30 ms, 152.
    assert [cadence_after(x) for x in (0.009, 0.03, 1.0)] == [2, 4, 4]


def test_a_cadence_without_a_known_end_goes_by_what_there_was():
    seconds = Seconds()
    clock = Clock(seconds)
    cadence = Cadence(0.02, clock, epochs=float("inf"))
    seconds.at += 10.0
    cadence.begin()
    spend(seconds, clock, 0.3)
    cadence.end()
    assert not cadence.affords(1)
    seconds.at += 30.0
    assert cadence.affords(4)


def test_a_monitor_that_takes_too_long_measures_the_last_epoch_only():
    module, _ = fitted([], Plain(), max_epochs=4)
    slow = ModalityMonitor(encoder_paths(), "head", target="label", batches=2)
    begins = slow.on_train_start

    def all_due(trainer, pl_module):
        begins(trainer, pl_module)
        slow._due = frozenset(range(4))
        slow.clock.spent += 1e3

    slow.on_train_start = all_due
    other, _ = fitted([slow], Plain(), max_epochs=4)
    assert_same_weights(snapshot(other), snapshot(module))
    assert [entry["epoch"] for entry in slow.history] == [0, 3]


def test_every_is_kept_whatever_it_takes():
    callback = monitor(every=1)
    callback.clock.spent = 1e6
    fitted([callback], max_epochs=3)
    assert [entry["epoch"] for entry in callback.history] == [0, 1, 2]
    assert callback.clock.spent > 1e6
