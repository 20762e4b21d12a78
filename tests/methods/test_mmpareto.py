"""What is particular to MMPareto: a second backward pass through the encoders."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.checkpoint import checkpoint

from helpers.comparison import assert_close_weights
from helpers.modules import Late, assert_same_weights, encoder_paths
from helpers.trainers import quiet_trainer
from helpers.unimodal_losses import WithUnimodalLosses
from inforeg_lightning.callbacks import MMParetoCallback

EPOCHS = 2


def mmpareto(**settings):
    return MMParetoCallback(encoder_paths(), head="head", **settings)


def train(module, compiled=None, **settings):
    trainer = quiet_trainer(max_epochs=EPOCHS, callbacks=[mmpareto()], **settings)
    trainer.fit(module if compiled is None else compiled)
    return module.epoch_weights


class Single(Late):
    """In float32, as mixed precision needs it."""

    def __init__(self):
        super().__init__()
        self.float()
        self.batches = [
            {k: v.float() if v.is_floating_point() else v for k, v in batch.items()}
            for batch in self.batches
        ]


class Checkpointed(Late):
    reentrant = False

    def features(self, batch):
        return {
            name: checkpoint(
                getattr(self, f"{name}_encoder"),
                batch[name].requires_grad_(),
                use_reentrant=self.reentrant,
            )
            for name in self.names
        }


class Scaled(MixedPrecision):
    """Bfloat16 with the loss scale of fp16, which CPUs lack the rest of."""

    def __init__(self):
        super().__init__("bf16-mixed", "cpu")
        self.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)


def test_the_loss_scale_of_fp16_cancels():
    ours, theirs = train(Single(), plugins=[Scaled()]), train(Single(), precision="bf16-mixed")
    for mine, reference in zip(ours, theirs, strict=True):
        assert_same_weights(mine, reference)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
@pytest.mark.parametrize("what", ["encoders", "head", "whole"])
def test_compiled(what):
    torch._dynamo.reset()
    module, whole = Late(), None
    if what == "whole":
        whole = torch.compile(module, backend="aot_eager")
    else:
        for path in encoder_paths().values() if what == "encoders" else ["head"]:
            getattr(module, path).compile(backend="aot_eager")
    assert_close_weights(train(module, compiled=whole), train(Late()), atol=1e-12)
    torch._dynamo.reset()


def test_checkpointed_encoders():
    assert_close_weights(train(Checkpointed()), train(Late()), atol=1e-12)


def test_reentrant_checkpoints_are_refused():
    module = Checkpointed()
    module.reentrant = True
    with pytest.raises(ValueError, match="use_reentrant=True"):
        train(module)


def test_a_graph_that_cannot_be_gone_through_twice_is_an_error_that_says_so():
    class Freed(Late):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            loss.backward()  # frees the graph
            return loss

    with pytest.raises(RuntimeError, match="twice, which this one does not allow"):
        train(Freed())


@pytest.mark.parametrize("frozen", ["audio_encoder", "head"])
def test_a_frozen_encoder_or_head_stays(frozen):
    module = Late()
    for parameter in [*getattr(module, frozen).parameters()][:2]:
        parameter.requires_grad_(False)
    before = {n: p.clone() for n, p in module.named_parameters() if not p.requires_grad}
    (_, after) = train(module)
    for name, weight in before.items():
        assert torch.equal(after[name], weight)


def test_unimodal_losses_on_both_sides_or_on_none_are_refused():
    with pytest.raises(ValueError, match="unimodal_losses=True, but"):
        train(WithUnimodalLosses())
    module = Late()
    module.unimodal_losses = False
    included = mmpareto(unimodal_losses_included=True, unimodal_heads="shared")
    trainer = quiet_trainer(callbacks=[included])
    with pytest.raises(ValueError, match="Give both the same value"):
        trainer.fit(module)


@pytest.mark.parametrize("gamma", [0.0, -1.0, float("inf"), float("nan")])
def test_gamma_is_positive(gamma):
    with pytest.raises(ValueError, match="`gamma` must be above 0"):
        mmpareto(gamma=gamma)


def test_the_flag_is_a_bool():
    with pytest.raises(TypeError, match="must be a bool"):
        mmpareto(unimodal_losses_included="yes", unimodal_heads="shared")
