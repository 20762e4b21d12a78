"""The Regulator in a bare loop with a ``torch.amp.GradScaler``, here on the CPU."""

import pytest
import torch
from torch import Tensor, nn

from helpers.loops import Loop, SetUp
from helpers.modules import assert_same_weights, snapshot


class Scaled(Loop):
    """A loop whose losses are scaled; that of the batches ``overflows`` is infinite."""

    def __init__(
        self,
        set_up: SetUp | None = None,
        overflows: tuple[int, ...] = (),
        zero_first: str = "",
        clip: float = 0.0,
        **settings,
    ) -> None:
        super().__init__(set_up, **settings)
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
        self.overflows, self.zero_first, self.clip = overflows, zero_first, clip

    def backward(self, loss: Tensor, index: int) -> None:
        if index in self.overflows:
            loss = loss * torch.inf
        self.scaler.scale(loss).backward()

    def step(self, *indices: int) -> None:
        if self.zero_first == "before":
            self.optimizer.zero_grad()
        for index in indices:
            with self.regulator.batch(self.batches[index]):
                if self.zero_first == "inside":
                    self.optimizer.zero_grad()
                loss = self.loss(index)
            self.backward(loss, index)
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.net.parameters(), self.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if not self.zero_first:
            self.optimizer.zero_grad()


def test_the_scale_cancels_out_to_the_bit():
    plain, scaled = Loop(), Scaled()
    for epoch in range(2):
        plain.epoch(epoch)
        scaled.epoch(epoch)
    assert_same_weights(snapshot(scaled.net), snapshot(plain.net))
    assert scaled.regulator.history == plain.regulator.history


def test_unscaled_and_clipped_gradients_are_those_of_a_loop_without_scaler():
    class Clipped(Loop):
        def step(self, index: int) -> None:
            with self.regulator.batch(self.batches[index]):
                loss = self.loss(index)
            loss.backward()
            nn.utils.clip_grad_norm_(self.net.parameters(), 0.3)
            self.optimizer.step()
            self.optimizer.zero_grad()

    plain, scaled = Clipped(), Scaled(clip=0.3)
    plain.epoch(0)
    scaled.epoch(0)
    assert_same_weights(snapshot(scaled.net), snapshot(plain.net))


@pytest.mark.parametrize("zero_first", ["", "before", "inside"])
@pytest.mark.parametrize("period", ["epoch", 3])
def test_a_step_that_is_left_out_is_counted_and_leaves_no_scores_behind(period, zero_first):
    set_up = SetUp("always", period=period)
    scaled = Scaled(set_up, overflows=(2,), zero_first=zero_first)
    plain = Loop(SetUp("always", period=period))
    with pytest.warns(UserWarning, match="1 of . steps of period 0 .* or were never made"):
        scaled.epoch(0)
    plain.regulator.begin_epoch(0)
    for index in (0, 1, 3, 4, 5):
        plain.step(index)
    plain.regulator.end_epoch()
    if period == "epoch":  # else the anchors are of other steps: the one left out counts
        assert_same_weights(snapshot(scaled.net), snapshot(plain.net))
        assert scaled.regulator.history[0]["score"] == plain.regulator.history[0]["score"]
        assert scaled.regulator.history[0]["alpha"] == plain.regulator.history[0]["alpha"]
    counts = [(entry["steps"], entry["skipped"]) for entry in scaled.regulator.history]
    assert counts == [(6, 1)] if period == "epoch" else [(3, 1), (3, 0)]


def test_of_accumulated_batches_all_are_left_out_with_their_step():
    plain, scaled = Loop(), Scaled(overflows=(2,))
    plain.regulator.begin_epoch(0)
    scaled.regulator.begin_epoch(0)
    for pair in ((0, 1), (2, 3), (4, 5)):
        scaled.step(*pair)
        if pair != (2, 3):
            plain.step(*pair)
    plain.regulator.end_epoch()
    with pytest.warns(UserWarning, match="1 of 3 steps of period 0"):
        scaled.regulator.end_epoch()
    assert_same_weights(snapshot(scaled.net), snapshot(plain.net))
    assert scaled.regulator.history[0]["score"] == plain.regulator.history[0]["score"]


class Fused(SetUp):
    def sgd(self, net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.Adam(net.parameters(), fused=True)


def test_an_optimizer_that_unscales_inside_its_step_is_refused_with_a_scaler():
    with pytest.raises(ValueError, match=r"Adam\(fused=True\) unscales"):
        Loop(Fused("always"), scaler=torch.amp.GradScaler("cpu"))


def test_an_optimizer_that_unscales_inside_its_step_is_refused_as_it_steps():
    loop = Scaled(Fused("always"))
    loop.regulator.begin_epoch(0)
    with pytest.raises(ValueError, match=r"Adam\(fused=True\) unscales"):
        loop.step(0)


def test_it_may_step_on_gradients_that_were_unscaled_before():
    plain, scaled = Loop(Fused("always")), Scaled(Fused("always"), clip=1e9)
    plain.epoch(0)
    scaled.epoch(0)
    assert_same_weights(snapshot(scaled.net), snapshot(plain.net))
