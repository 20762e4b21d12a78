"""Manual optimisation: one optimiser, several, and several steps in a batch."""

import pytest
import torch.nn.functional as F

from helpers.comparison import assert_opens_and_closes
from helpers.manual import Manual, OneForEach
from helpers.modules import Late, assert_same_weights, make_batches
from helpers.regulated import fit, inforeg


class Twice(Manual):
    repeats = 2


class OneForEachTwice(OneForEach):
    repeats = 2


class ByHandAccumulated(Manual):
    """Steps on every second batch."""

    def training_step(self, batch, batch_idx: int) -> None:
        optimizer = self.optimizers()
        self.manual_backward(F.cross_entropy(self(batch), batch["label"]) / 2)
        if batch_idx % 2 == 1:
            optimizer.step()
            optimizer.zero_grad()


class AudioTwice(OneForEach):
    """The audio encoder's optimiser steps twice from one backward pass."""

    def training_step(self, batch, batch_idx: int) -> None:
        audio, video, head = self.optimizers()
        for optimizer in (audio, video, head):
            optimizer.zero_grad()
        self.manual_backward(F.cross_entropy(self(batch), batch["label"]))
        for optimizer in (audio, video, head, audio):
            optimizer.step()


def by_lightning(batches=None, **settings):
    result = fit(Late(batches=batches), inforeg(), **settings)
    assert_opens_and_closes(result["history"])
    return result


def assert_same(ours, theirs):
    for mine, reference in zip(ours["weights"], theirs["weights"], strict=True):
        assert_same_weights(mine, reference)
    for mine, reference in zip(ours["history"], theirs["history"], strict=True):
        # Lightning's global step counts the steps of every optimiser.
        assert {**mine, "step": None} == {**reference, "step": None}


def test_an_optimiser_for_each_module_is_as_one_to_the_bit():
    assert_same(fit(OneForEach(), inforeg()), by_lightning())


@pytest.mark.parametrize("module", [Twice, OneForEachTwice])
def test_two_passes_and_steps_in_a_batch_are_two_steps(module):
    doubled = [batch for batch in make_batches() for _ in range(2)]
    assert_same(fit(module(), inforeg()), by_lightning(doubled))


def test_accumulation_by_hand_is_that_of_lightning():
    assert_same(fit(ByHandAccumulated(), inforeg()), by_lightning(accumulate_grad_batches=2))


def test_a_second_step_from_one_backward_pass_counts_for_its_encoder_only():
    callback = inforeg(window="always")
    fit(AudioTwice(), callback, max_epochs=1)
    (entry,) = callback.history
    assert entry["steps"] == 8
    assert entry["skipped"] == 0
    once = inforeg(window="never")
    fit(Late(batches=make_batches()[:1]), once, max_epochs=1)
    both = inforeg(window="never")
    fit(AudioTwice(batches=make_batches()[:1]), both, max_epochs=1)
    assert both.history[0]["trace"] == once.history[0]["trace"]


def test_a_period_of_steps_ends_with_the_batch_in_which_it_is_full():
    callback = inforeg(period=3)
    fit(Twice(), callback, max_epochs=1)
    assert [entry["steps"] for entry in callback.history] == [4, 4]
