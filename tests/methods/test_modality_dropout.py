"""Modality dropout: what the head sees, and what is refused."""

import pytest
import torch

from helpers.modules import WIDTHS, Late, encoder_paths, make_batches, snapshot
from helpers.partly import Partly, partly_batches
from helpers.regulated import fit
from inforeg_lightning.callbacks import ModalityDropoutCallback

AUDIO = WIDTHS["audio"][1]


def dropout(**settings):
    return ModalityDropoutCallback(encoder_paths(), head="head", **settings)


def seen_by_head(module, callback, **settings):
    """Of each sample that the head sees, whether audio and video are zero, shape ``(N, 2)``."""
    found = []

    def look(head, args, output):
        parts = args[0].detach().split([AUDIO, args[0].shape[1] - AUDIO], dim=1)
        if head.training:
            found.append(torch.stack([(part == 0).all(1) for part in parts], dim=1))

    handle = module.head.register_forward_hook(look)
    torch.manual_seed(0)
    fit(module, callback, **{"max_epochs": 1} | settings)
    handle.remove()
    return found


def test_the_head_sees_zeros_as_often_as_said_and_never_in_both():
    module = Late(batches=make_batches(batches=8, size=64))
    zeros = torch.cat(seen_by_head(module, dropout(p={"audio": 0.2, "video": 0.6})))
    assert not zeros.all(1).any()
    torch.testing.assert_close(
        zeros.double().mean(0), torch.tensor([0.2, 0.6]).double(), rtol=0, atol=0.06
    )


def test_by_step_all_samples_of_all_micro_batches_lose_the_same():
    module = Late(batches=make_batches(batches=16))
    found = seen_by_head(module, dropout(p=0.8, per="step"), accumulate_grad_batches=2)
    steps = [torch.cat(pair) for pair in zip(found[::2], found[1::2], strict=True)]
    assert all((step == step[0]).all() for step in steps)
    assert len({tuple(step[0].tolist()) for step in steps}) == 3  # audio, video and nothing


def test_what_a_sample_has_alone_it_keeps():
    batches = partly_batches(("audio", "video", "mixed", "whole"))
    has = torch.cat([torch.stack([*b["present"].values()], 1) for b in batches])
    zeros = torch.cat(seen_by_head(Partly(batches=batches), dropout(p=1.0, present="present")))
    left = (has & ~zeros).sum(1)
    assert torch.equal(left, has.any(1).long())  # of two one is lost, of one none
    assert (has.sum(1) == 2).any()
    assert (has.sum(1) == 1).any()


def test_an_encoder_that_is_always_dropped_does_not_move():
    module = Late(weight_decay=0.0)
    start = snapshot(module)
    after = fit(module, dropout(p={"audio": 1.0}), max_epochs=1)["weights"][0]
    for name, weight in start.items():
        assert torch.equal(after[name], weight) == name.startswith("audio"), name


def test_validation_sees_everything():
    class Validated(Late):
        def validation_step(self, batch, batch_idx):
            assert not self.training
            self.logits = self(batch)

        val_dataloader = Late.train_dataloader

    module = Validated()
    fit(module, dropout(p=1.0), max_epochs=1)
    with torch.no_grad():
        assert torch.equal(module.logits, module(module.batches[-1]))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"p": 1.1}, r"`p` must be from 0 to 1 \(AV-HuBERT: 0.5\), but is 1.1"),
        ({"p": {"audio": -0.1}}, r"`p\['audio'\]` must be from 0 to 1"),
        ({"p": {"audio": 0.7, "video": 0.7}}, "`p` must add up to 1 at most"),
        ({"p": {"sound": 0.5}}, r"`p` has \['sound'\], but `encoders` has \['audio', 'video'\]"),
        ({"per": "batch"}, "`per` must be 'sample' or 'step', but is 'batch'"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        dropout(**settings)


def test_a_probability_that_is_no_number_is_refused():
    with pytest.raises(TypeError, match="`p` must be a number"):
        dropout(p="half")
