"""What stands in the place of a modality that a batch lacks belongs to nobody."""

import itertools

import pytest
import torch
from torch import nn

from inforeg_lightning.engine.probe.layout import Layout
from inforeg_lightning.engine.probe.probe import UnimodalProbe

AUDIO, VIDEO = nn.Linear(3, 4), nn.Linear(5, 2)
ENCODERS = {"audio": [AUDIO], "video": [VIDEO]}
TOKEN = nn.Parameter(torch.ones(2))


def joined(has_audio=True, has_video=True, samples=3):
    z = AUDIO(torch.ones(samples, 3)) if has_audio else torch.ones(samples, 4)
    v = VIDEO(torch.ones(samples, 5)) if has_video else TOKEN.expand(samples, -1)
    return torch.cat([z, v], dim=1)


@pytest.mark.parametrize("after", [lambda x: x, torch.relu], ids=["as it is", "ReLU"])
def test_beside_the_only_modality(after):
    audio = AUDIO(torch.ones(3, 3))
    layout = Layout(
        [after(torch.cat([audio, TOKEN.expand(3, -1)], 1))], {"audio": [audio]}, ENCODERS
    )
    assert layout.absent == {"video"}
    (blocks,) = layout.blocks
    assert (blocks.owners, blocks.widths) == (("audio", None), (4, 2))


def test_what_an_encoder_itself_returns_is_its_own():
    """As of one that hands its input on beside what it made of it."""
    audio = torch.cat([AUDIO(torch.ones(3, 3)), torch.ones(3, 2)], 1)
    (blocks,) = Layout([audio], {"audio": [audio]}, ENCODERS).blocks
    assert blocks.owners == ("audio",)


@pytest.mark.parametrize("order", [*itertools.permutations([(1, 1), (1, 0), (0, 1)])])
def test_the_first_batch_of_a_shape_does_not_decide_for_the_others(order):
    torch.manual_seed(0)
    head = nn.Linear(6, 3)
    probe = UnimodalProbe(ENCODERS, head)
    for has_audio, has_video in [*order, *order]:
        probe.start()
        head(joined(has_audio, has_video))
        logits = probe.logits()
        found = [*logits]
        assert found == [m for m, has in (("audio", has_audio), ("video", has_video)) if has]
        if has_audio:
            audio = AUDIO(torch.ones(3, 3)) @ head.weight[:, :4].T + head.bias / 2
            torch.testing.assert_close(logits["audio"], audio.detach())
    probe.close()
