"""The Regulator in a bare loop: state, hooks, and what it says to misuse."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.loops import Loop, Net, SetUp, make_method, without_displacement
from helpers.modules import assert_same_weights, snapshot
from inforeg_lightning import Regulator, report_unimodal
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.methods import MSLR, OGM, OGMGE, InfoReg, Method

PATHS = SetUp().paths()


METHODS = {
    "paper": lambda: make_method("paper"),
    "always": lambda: make_method("always"),
    "official": lambda: make_method("official"),
    "ogm": lambda: OGM(0.4),
    "ogm_ge": lambda: OGMGE(0.4),
    "mslr": lambda: MSLR({"audio": 0.5, "video": 1.5}),
}


@pytest.mark.parametrize("period", ["epoch", 4])
@pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
def test_a_state_saved_inside_an_epoch_goes_on_to_the_bit(make, period):
    torch.manual_seed(0)
    set_up = SetUp(period=period)
    straight = Loop(set_up, make())
    straight.epoch(0)
    straight.regulator.begin_epoch(1)
    for index in range(3):
        straight.step(index)
    saved = straight.checkpoint()
    for index in range(3, 6):
        straight.step(index)
    straight.regulator.end_epoch()
    straight.epoch(2)

    resumed = Loop(set_up, make())
    torch.nn.init.zeros_(resumed.net.head.weight)
    resumed.load(saved)
    resumed.regulator.begin_epoch(1)
    for index in range(3, 6):
        resumed.step(index)
    resumed.regulator.end_epoch()
    resumed.epoch(2)
    assert_same_weights(snapshot(resumed.net), snapshot(straight.net))
    assert resumed.regulator.history == straight.regulator.history


def test_a_state_is_not_changed_by_the_training_that_goes_on():
    loop = Loop()
    loop.regulator.begin_epoch(0)
    loop.step(0)
    loop.step(1)
    saved = loop.regulator.state_dict()
    before = copy.deepcopy(saved)
    loop.step(2)
    loop.regulator.state_dict()
    assert torch.equal(saved["book"]["sums"]["sums"], before["book"]["sums"]["sums"])
    fresh = Loop()
    fresh.regulator.load_state_dict(saved)
    fresh.regulator.begin_epoch(0)
    fresh.step(2)
    fresh.regulator.state_dict()
    assert torch.equal(saved["book"]["sums"]["sums"], before["book"]["sums"]["sums"])


def test_a_state_is_loaded_with_weights_only(tmp_path):
    loop = Loop()
    loop.regulator.begin_epoch(0)
    loop.step(0)
    torch.save(loop.regulator.state_dict(), tmp_path / "state.pt")
    loaded = torch.load(tmp_path / "state.pt", weights_only=True)
    fresh = Loop()
    fresh.regulator.load_state_dict(loaded)
    assert fresh.regulator.state_dict()["steps"] == 1


def test_a_state_saved_after_the_last_batch_ends_that_epoch_first():
    straight, resumed = Loop(), Loop()
    straight.epoch(0)
    straight.epoch(1)
    first = Loop()
    first.regulator.begin_epoch(0)
    for index in range(6):
        first.step(index)
    resumed.load(first.checkpoint())
    resumed.epoch(1)
    ours, theirs = resumed.regulator.history, straight.regulator.history
    assert without_displacement(ours) == without_displacement(theirs)
    assert_same_weights(snapshot(resumed.net), snapshot(straight.net))


def test_reading_history_and_state_between_backward_and_step_changes_nothing():
    plain, watched = Loop(SetUp("always", period=2)), Loop(SetUp("always", period=2))
    for loop in (plain, watched):
        loop.regulator.begin_epoch(0)
        for index in range(6):
            with loop.regulator.batch(loop.batches[index]):
                if loop is watched:
                    assert loop.regulator.history == loop.regulator.history
                    loop.regulator.state_dict()
                loss = loop.loss(index)
            loss.backward()
            if loop is watched:
                loop.regulator.state_dict()
                assert len(loop.regulator.history) == index // 2
            loop.optimizer.step()
            loop.optimizer.zero_grad()
            if loop is watched:
                assert len(loop.regulator.history) == (index + 1) // 2
        loop.regulator.end_epoch()
    assert_same_weights(snapshot(watched.net), snapshot(plain.net))
    assert watched.regulator.history == plain.regulator.history


class Remembers(Method):
    """It needs at the step what it kept of the batch."""

    name = "remembers"

    def __init__(self):
        super().__init__("always")
        self.add_state("batch", None, Lifetime.BATCH)
        self.edited = []

    def begin_batch(self, begins_period):
        self.batch = "kept"

    def edit(self, step):
        self.edited.append(self.batch)
        return {}


def test_reading_between_backward_and_step_takes_nothing_from_the_method():
    loop = Loop(method=Remembers())
    loop.regulator.begin_epoch(0)
    with loop.regulator.batch(loop.batches[0]):
        loss = loop.loss(0)
    loss.backward()
    assert loop.regulator.history == []
    loop.regulator.state_dict()
    loop.optimizer.step()
    assert loop.regulator.method.edited == ["kept"]


def test_close_removes_every_hook_and_keeps_the_history():
    loop = Loop()
    loop.epoch(0)
    history = copy.deepcopy(loop.regulator.history)
    loop.regulator.close()
    for module in loop.net.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert not loop.optimizer._optimizer_step_pre_hooks
    assert not loop.optimizer._optimizer_step_post_hooks
    assert loop.regulator.history == history

    other = Loop()
    other.net.load_state_dict(loop.net.state_dict())
    other.regulator.close()
    for net, optimizer in ((loop.net, loop.optimizer), (other.net, other.optimizer)):
        optimizer.state.clear()
        F.mse_loss(net(**loop.batches[0])["logits"], torch.zeros(8, 3).double()).backward()
        optimizer.step()
    assert_same_weights(snapshot(loop.net), snapshot(other.net))
    with pytest.raises(RuntimeError, match="closed: make a new one"):
        loop.regulator.begin_epoch(1)
    loop.regulator.close()


def test_a_closed_regulator_makes_room_for_another_with_the_same_method():
    method = make_method("always")
    loop = Loop(method=method)
    loop.epoch(0)
    loop.regulator.close()
    again = Regulator(loop.net, loop.optimizer, PATHS, method, "head", target="labels")
    assert again.history == []
    again.begin_epoch(0)
    assert len(loop.regulator.history) == 1


def test_backward_and_step_inside_the_block_are_the_same():
    outside, inside = Loop(), Loop()
    for epoch in range(2):
        outside.epoch(epoch)
        inside.regulator.begin_epoch(epoch)
        for index in range(6):
            with inside.regulator.batch(inside.batches[index]):
                inside.optimizer.zero_grad()
                inside.loss(index).backward()
                inside.optimizer.step()
        inside.regulator.end_epoch()
    assert_same_weights(snapshot(inside.net), snapshot(outside.net))
    assert inside.regulator.history == outside.regulator.history


class DecidesBeforeBackward(Method):
    """As AGM and PMR do, it edits what is passed back once it knows the scores."""

    name = "decides"
    edits_head = True

    def __init__(self):
        super().__init__("always")


def test_a_method_that_decides_what_is_passed_back_refuses_backward_inside_the_block():
    loop = Loop(method=DecidesBeforeBackward())
    loop.regulator.begin_epoch(0)
    with (
        pytest.raises(RuntimeError, match=r"leave the block of `with regulator\.batch"),
        loop.regulator.batch(loop.batches[0]),
    ):
        loop.loss(0).backward()
    loop.optimizer.zero_grad()
    loop.step(1)
    loop.regulator.end_epoch()
    assert loop.regulator.history[0]["steps"] == 1


def test_after_an_exception_inside_the_block_the_batch_counts_nowhere():
    plain, failed = Loop(), Loop()
    for loop in (plain, failed):
        loop.regulator.begin_epoch(0)
        for index in range(6):
            if loop is failed and index in (0, 3):
                with pytest.raises(KeyError), loop.regulator.batch(loop.batches[5]):
                    raise KeyError(loop.loss(5))
            loop.step(index)
        loop.regulator.end_epoch()
    assert_same_weights(snapshot(failed.net), snapshot(plain.net))
    assert failed.regulator.history == plain.regulator.history


def test_after_an_exception_while_validating_training_goes_on():
    plain, failed = Loop(), Loop()
    for loop in (plain, failed):
        loop.regulator.begin_epoch(0)
        for index in range(6):
            if loop is failed and index == 2:
                with (
                    pytest.raises(KeyError),
                    loop.regulator.validation(),
                    loop.regulator.batch(loop.batches[0]),
                ):
                    raise KeyError
            loop.step(index)
        loop.regulator.end_epoch()
    assert_same_weights(snapshot(failed.net), snapshot(plain.net))
    assert failed.regulator.history == plain.regulator.history


def test_validation_scores_and_edits_nothing():
    plain, validated = Loop(), Loop()
    for loop in (plain, validated):
        for epoch in range(2):
            loop.epoch(epoch)
            if loop is validated:
                with loop.regulator.validation() as scores, torch.no_grad():
                    for index in range(6):
                        with loop.regulator.batch(loop.batches[index]):
                            loop.loss(index)
                assert scores.keys() == PATHS.keys()
    assert_same_weights(snapshot(validated.net), snapshot(plain.net))
    # Of a linear head, by hand: the share of the bias and the columns of the modality.
    net, batches = validated.net, validated.batches
    z = torch.cat([net.audio_encoder(batch["audio"]) for batch in batches])
    logits = z @ net.head.weight[:, :5].T + net.head.bias / 2
    labels = torch.cat([batch["labels"] for batch in batches])
    expected = -F.cross_entropy(logits, labels).item()
    assert scores["audio"] == pytest.approx(expected, rel=1e-9)


class SubclassCallsBase(torch.optim.SGD):
    """Its step and that of its base both have the hooks."""

    def step(self, closure=None):
        return super().step(closure)


def test_a_subclass_that_calls_the_step_of_its_base_steps_once():
    class OfSubclass(SetUp):
        def sgd(self, net):
            return SubclassCallsBase(net.parameters(), 0.1, 0.9, weight_decay=1e-3)

    plain, nested = Loop(), Loop(OfSubclass("always"))
    for epoch in range(2):
        plain.epoch(epoch)
        nested.epoch(epoch)
    assert_same_weights(snapshot(nested.net), snapshot(plain.net))
    ours, theirs = nested.regulator.history, plain.regulator.history
    assert without_displacement(ours) == without_displacement(theirs)


def test_two_optimizers_are_as_one():
    class Split(SetUp):
        def sgd(self, net):
            return super().sgd(net.audio_encoder)

    one = Loop()
    one.epoch(0)
    set_up = SetUp("always")
    net = set_up.net()
    of_audio = set_up.sgd(net.audio_encoder)
    rest = torch.optim.SGD(
        [*net.video_encoder.parameters(), *net.head.parameters()], 0.1, 0.9, weight_decay=1e-3
    )
    regulator = Regulator(net, [of_audio, rest], PATHS, make_method("always"), "head")
    regulator.begin_epoch(0)
    for batch in set_up.batches():
        with regulator.batch(batch["labels"]):
            loss = net(**batch)["loss"]
        loss.backward()
        for optimizer in (of_audio, rest):
            optimizer.step()
            optimizer.zero_grad()
    regulator.end_epoch()
    assert_same_weights(snapshot(net), snapshot(one.net))
    for quantity in ("trace", "score", "alpha", "pull", "steps", "skipped"):
        assert regulator.history[0][quantity] == one.regulator.history[0][quantity]


def test_a_step_outside_of_the_epochs_is_left_alone():
    loop, plain = Loop(), Loop()
    for each in (loop, plain):
        each.epoch(0)
    plain.regulator.close()
    for each in (loop, plain):
        each.loss(3).backward()
        each.optimizer.step()
        each.optimizer.zero_grad()
    assert_same_weights(snapshot(loop.net), snapshot(plain.net))
    loop.epoch(1)
    assert loop.regulator.history[1]["steps"] == 6


def test_logits_reported_for_a_wrapped_model_are_heard():
    set_up = SetUp("always", reports=True)
    net = set_up.net()
    wrapped = nn.DataParallel(net)  # on the CPU it calls the model, and stands for any wrapper
    net.reports_for = []
    optimizer = set_up.sgd(net)
    regulator = Regulator(wrapped, optimizer, PATHS, make_method("always"))
    regulator.begin_epoch(0)
    batch = set_up.batches()[0]
    for module in (wrapped, net):
        with regulator.batch():
            loss = net(**batch)["loss"]
            logits = {m: torch.randn(8, 3) for m in PATHS}
            report_unimodal(module, logits, batch["labels"])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    regulator.end_epoch()
    assert regulator.history[0]["skipped"] == 0


def test_frozen_encoders_are_measured_and_left_alone():
    set_up = SetUp("always")
    net = set_up.net()
    net.video_encoder.requires_grad_(False)
    before = snapshot(net.video_encoder)
    regulator = set_up.regulator(net, optimizer := set_up.sgd(net))
    regulator.begin_epoch(0)
    for batch in set_up.batches():
        with regulator.batch(batch):
            loss = net(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    regulator.end_epoch()
    assert_same_weights(snapshot(net.video_encoder), before)
    assert regulator.history[0]["score"]["video"] is not None


class TestMisuse:
    def test_a_batch_before_an_epoch(self):
        loop = Loop()
        with (
            pytest.raises(RuntimeError, match=r"call begin_epoch\(epoch\) before the first batch"),
            loop.regulator.batch(loop.batches[0]),
        ):
            pass

    def test_a_batch_inside_another(self):
        loop = Loop()
        loop.regulator.begin_epoch(0)
        with (
            pytest.raises(RuntimeError, match="another batch is open"),
            loop.regulator.batch(loop.batches[0]),
            loop.regulator.batch(loop.batches[1]),
        ):
            pass
        loop.step(0)

    def test_two_epochs_without_an_end(self):
        loop = Loop()
        loop.regulator.begin_epoch(0)
        loop.step(0)
        with pytest.raises(RuntimeError, match=r"epoch 0 has begun .* call end_epoch\(\) before"):
            loop.regulator.begin_epoch(1)
        loop.regulator.end_epoch()
        loop.epoch(1)

    def test_an_end_without_an_epoch(self):
        with pytest.raises(RuntimeError, match=r"end_epoch\(\) needs an epoch that has begun"):
            Loop().regulator.end_epoch()

    def test_a_validation_before_training(self):
        loop = Loop()
        with (
            pytest.raises(RuntimeError, match="comes after the first begin_epoch"),
            loop.regulator.validation(),
        ):
            pass

    def test_a_batch_whose_head_is_not_called(self):
        loop = Loop()
        loop.regulator.begin_epoch(0)
        with (
            pytest.raises(ValueError, match=r"inside `with regulator\.batch\(\.\.\.\)`"),
            loop.regulator.batch(loop.batches[0]),
        ):
            pass
        loop.step(0)

    def test_a_target_that_is_not_there(self):
        loop = Loop(target="label")
        loop.regulator.begin_epoch(0)
        with (
            pytest.raises(ValueError, match="`target='label'` is not found"),
            loop.regulator.batch(loop.batches[0]),
        ):
            pass
        with loop.regulator.batch(loop.batches[0]["labels"]):
            loop.loss(0)

    def test_a_closure(self):
        loop = Loop()
        loop.regulator.begin_epoch(0)
        with loop.regulator.batch(loop.batches[0]):
            loss = loop.loss(0)
        with pytest.raises(RuntimeError, match="was given a closure"):
            loop.optimizer.step(lambda: loss.backward())

    def test_lbfgs(self):
        net = Net()
        with pytest.raises(ValueError, match="`optimizer` is LBFGS"):
            Regulator(net, torch.optim.LBFGS(net.parameters()), PATHS, InfoReg(), "head")

    def test_an_optimizer_of_a_copy(self):
        net = Net()
        other = torch.optim.SGD(copy.deepcopy(net).parameters(), 0.1)
        with pytest.raises(ValueError, match="holds no parameter of the encoders"):
            Regulator(net, other, PATHS, InfoReg(), "head")

    @pytest.mark.parametrize("optimizer", [None, [], "sgd"])
    def test_no_optimizer(self, optimizer):
        with pytest.raises((TypeError, ValueError), match="`optimizer`"):
            Regulator(Net(), optimizer, PATHS, InfoReg(), "head")

    def test_no_module(self):
        with pytest.raises(TypeError, match=r"`model` must be a torch\.nn\.Module"):
            Regulator("net", None, PATHS, InfoReg(), "head")

    def test_a_class_in_place_of_a_method(self):
        net = Net()
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        with pytest.raises(TypeError, match=r"for example InfoReg\(\)"):
            Regulator(net, optimizer, PATHS, InfoReg, "head")

    def test_a_second_regulator_on_an_optimizer(self):
        loop = Loop()
        with pytest.raises(ValueError, match=r"at work already.*close\(\) that one"):
            Regulator(loop.net, loop.optimizer, PATHS, InfoReg(), "head")
        never = InfoReg(window="never")
        Regulator(loop.net, loop.optimizer, PATHS, never, "head").close()

    def test_two_that_may_be_combined(self):
        loop = Loop(combine=True)
        Regulator(loop.net, loop.optimizer, PATHS, OGM(), "head", combine=True)
        with pytest.raises(ValueError, match="combine=True"):
            Regulator(loop.net, loop.optimizer, PATHS, OGM(), "head")

    def test_a_method_that_is_at_work_elsewhere(self):
        method = make_method("always")
        loop = Loop(method=method)
        loop.regulator.begin_epoch(0)
        with pytest.raises(ValueError, match="`method` is at work elsewhere"):
            Loop(method=method)

    def test_data_parallel_on_several_devices(self):
        net = Net()
        wrapped = nn.DataParallel(net)
        wrapped.device_ids = [0, 1]
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        with pytest.raises(ValueError, match="`model` is in DataParallel"):
            Regulator(wrapped, optimizer, PATHS, InfoReg(), "head")

    @pytest.mark.parametrize("name", ["FullyShardedDataParallel", "DeepSpeedEngine"])
    def test_wrappers_that_hide_gradients(self, name):
        net = Net()
        wrapped = type(name, (nn.Sequential,), {})(net)
        optimizer = torch.optim.SGD(net.parameters(), 0.1)
        with pytest.raises(ValueError, match=f"`model` is a {name}, which .* Use Distributed"):
            Regulator(wrapped, optimizer, PATHS, InfoReg(), "head")

    def test_epochs_in_which_nothing_can_be_regulated(self):
        loop = Loop(SetUp("paper"), planned_epochs=2)
        with pytest.warns(UserWarning, match="no period of this training can be regulated"):
            loop.regulator.begin_epoch(0)
