"""What would silently go wrong, and is warned of or refused instead."""

import pytest
import torch
from torch import nn

from helpers.modules import Late, encoder_paths
from helpers.regulated import always, fit
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, report_unimodal
from inforeg_lightning.core.scores import linear_unimodal_logits


@pytest.mark.parametrize(
    "make", [always, lambda: InfoRegCallback.official(encoder_paths(), head="head", K=0.0)]
)
def test_steps_without_the_head_are_skipped_and_counted(make):
    class Alternating(Late):
        def training_step(self, batch, batch_idx):
            if batch_idx % 2 == 0:
                return super().training_step(batch, batch_idx)
            return sum(z.square().mean() for z in self.features(batch).values())

    callback = make()
    with pytest.warns(UserWarning, match="2 of 4 steps of period 0 had .* no unimodal logits"):
        fit(Alternating(), callback, max_epochs=2)
    assert [entry["skipped"] for entry in callback.history] == [2, 2]
    assert callback.history[0]["alpha"]["audio"] > 0.9


def test_an_encoder_that_is_not_used_is_warned_of():
    class Unused(Late):
        def __init__(self):
            super().__init__()
            self.old_encoder = nn.Linear(2, 2).double()

        def training_step(self, batch, batch_idx):
            features = self.features(batch)
            logits = linear_unimodal_logits(self.head.weight, self.head.bias, features)
            report_unimodal(self, logits, batch["label"])
            return super().training_step(batch, batch_idx)

    callback = InfoRegCallback(encoder_paths() | {"audio": "old_encoder"}, window="always")
    with pytest.warns(UserWarning, match="the encoder of audio had no gradient in any step"):
        fit(Unused(), callback, max_epochs=2)


def test_steps_that_lightning_does_not_see_are_warned_of():
    class Manual(Late):
        automatic_optimization = False

        def training_step(self, batch, batch_idx):
            optimizer = self.optimizers(use_pl_optimizer=False)
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, batch_idx))
            optimizer.step()

    with pytest.warns(UserWarning, match="no optimiser step was seen in period 0"):
        fit(Manual(), always(), max_epochs=2)


def test_a_checkpoint_of_the_other_variant_is_refused(tmp_path):
    official = InfoRegCallback.official(encoder_paths(), head="head")
    trainer = quiet_trainer(callbacks=[official], max_epochs=1)
    trainer.fit(Late())
    trainer.save_checkpoint(tmp_path / "official.ckpt")
    for other, name in ((always(), "variant"), (always(score="prob"), "variant")):
        with pytest.raises(
            ValueError, match=f"the checkpoint's InfoRegCallback has {name} 'official'"
        ):
            quiet_trainer(callbacks=[other], max_epochs=2).fit(
                Late(), ckpt_path=tmp_path / "official.ckpt", weights_only=True
            )


def test_the_pull_is_defined_for_plain_descent_only():
    class Other(Late):
        def configure_optimizers(self):
            return torch.optim.RMSprop(self.parameters(), lr=1e-4, momentum=0.9)

    callback = always()
    fit(Other(), callback, max_epochs=2)
    assert callback.history[-1]["pull"] == {"audio": None, "video": None}


def test_what_cannot_be_regulated_is_refused_by_name():
    class Ascending(Late):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1, maximize=True)

    with pytest.raises(ValueError, match=r"SGD\(maximize=True\) would push an encoder away"):
        fit(Ascending(), always(), max_epochs=2)

    class Sparse(Late):
        def make_encoder(self, inputs, width):
            return nn.EmbeddingBag(10, width, sparse=True)

    with pytest.raises(ValueError, match="sparse=True, whose gradient can be neither"):
        fit(Sparse(), always(), max_epochs=2)


def test_misuse_of_reporting():
    class Both(Late):
        def training_step(self, batch, batch_idx):
            report_unimodal(
                self, {"audio": batch["audio"], "video": batch["video"]}, batch["label"]
            )
            return super().training_step(batch, batch_idx)

    with pytest.raises(
        ValueError, match="unimodal logits are reported, but `head='head'` is given"
    ):
        fit(Both(), always(), max_epochs=2)
    with pytest.raises(TypeError, match="`module` must be the model"):
        report_unimodal("model", {}, torch.zeros(1))
    with pytest.raises(TypeError, match="`audio` must be a tensor, but is a list"):
        report_unimodal(Late(), {"audio": [1.0]}, torch.zeros(1))


def test_the_module_is_let_go_after_training():
    callback, module = always(period=3), Late()
    fit(module, callback, max_epochs=1)
    assert not callback.engine.tracker.encoders
    state = callback.state_dict()["method"]
    assert set(state["anchors"]) == {"audio", "video"}, "the open period keeps its anchors"
