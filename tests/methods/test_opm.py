"""OPM: what is scored, in how many steps it acts, and what is refused."""

import pytest
import torch

from helpers.modules import Late, encoder_paths, make_batches
from helpers.partly import Partly, partly_batches
from helpers.regulated import fit
from inforeg_lightning.callbacks import OGMCallback, OPMCallback


def opm(**settings):
    return OPMCallback(encoder_paths(), head="head", **{"window": "always"} | settings)


def test_it_acts_in_the_share_of_the_steps_that_is_asked_for():
    torch.manual_seed(0)
    module = Late(batches=make_batches(batches=60), lr=1e-9)
    history = fit(module, opm(p_exe=0.3, lam=0.0), max_epochs=2)["history"]
    for entry in history:
        # Of two modalities the one that leads has q = 0.5 in such a step.
        share = sum(entry["probability"].values()) / 0.5
        assert 0.1 < share < 0.5


def test_scores_are_of_the_features_before_any_is_dropped():
    """Else a modality that is dropped would seem to know nothing."""
    torch.manual_seed(0)
    one = {"max_epochs": 1, "limit_train_batches": 1}
    dropping = fit(Late(), opm(q_base=1.0, p_exe=1.0), **one)["history"][0]
    joint = OGMCallback(encoder_paths(), head="head", window="never")
    assert dropping["score"] == fit(Late(), joint, **one)["history"][0]["score"]
    assert max(dropping["probability"].values()) == 1.0


@pytest.mark.parametrize("kinds", [("whole", "audio", "mixed"), ("mixed", "video", "whole")])
def test_where_samples_lack_a_modality_they_keep_what_they_have(kinds):
    module, found = Partly(batches=partly_batches(kinds)), []
    has = torch.cat([torch.stack([*b["present"].values()], 1) for b in module.batches]).any(1)

    def look(head, args, output):
        if head.training:
            found.append((args[0] != 0).any(1))

    handle = module.head.register_forward_hook(look)
    history = fit(module, opm(q_base=1.0, p_exe=1.0, present="present"), max_epochs=1)["history"]
    handle.remove()
    assert torch.equal(torch.cat(found), has)
    assert history[0]["skipped"] == 0
    assert all(p.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"q_base": 0}, r"`q_base` must be above 0 to 1 \(the authors: 0.5\)"),
        ({"q_base": 1.5}, "`q_base` must be above 0 to 1"),
        ({"lam": -1}, r"`lam` must be from 0 \(the authors: 0.5\)"),
        ({"p_exe": 0}, r"`p_exe` must be above 0 to 1 \(the authors: 0.7\)"),
    ],
    ids=str,
)
def test_what_is_out_of_range_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        opm(**settings)
