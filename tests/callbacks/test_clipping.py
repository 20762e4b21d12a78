"""Clipping sees the gradient with the pull in it."""

import pytest
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from helpers.comparison import assert_close_weights
from helpers.modules import Late
from helpers.regulated import fit, inforeg, plain_loop

LIMIT = {"norm": 0.3, "value": 0.03}


@pytest.mark.parametrize(
    ("algorithm", "clip"),
    [
        ("norm", lambda parameters: clip_grad_norm_(parameters, LIMIT["norm"])),
        ("value", lambda parameters: clip_grad_value_(parameters, LIMIT["value"])),
    ],
)
def test_gradients_are_clipped_after_the_pull(algorithm, clip):
    ours = fit(
        Late(),
        inforeg(window="always"),
        gradient_clip_val=LIMIT[algorithm],
        gradient_clip_algorithm=algorithm,
    )
    assert_close_weights(ours["weights"], plain_loop(Late(), clip=clip))

    with pytest.raises(AssertionError, match="not close"):  # the limit is one that acts
        assert_close_weights(ours["weights"], plain_loop(Late()))
