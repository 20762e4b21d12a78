"""How far an encoder goes by how far it would have gone without the pull, for every optimiser."""

import math

import pytest
import torch

from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches
from helpers.regulated import always, fit
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, Regulator
from inforeg_lightning.methods import InfoReg

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05),
}


def make(optimizer):
    class Module(Late):
        def configure_optimizers(self):
            return OPTIMIZERS[optimizer](self.parameters())

    return Module()


def counted(parameter):
    """The weights that the measurement samples of a parameter: here, of two dimensions or one."""
    parameter = parameter.detach()
    return parameter if parameter.dim() == 1 else parameter[:, parameter.shape[1] // 2]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_it_is_what_a_second_optimizer_does_with_the_gradients_before_the_pull(optimizer):
    """A plain loop with a whole second copy of the encoder, that has the same optimizer."""
    torch.manual_seed(0)
    module, batches = Late(), make_batches()
    encoder = [*module.audio_encoder.parameters()]
    shadows = [torch.nn.Parameter(p.detach().clone()) for p in encoder]
    own, other = OPTIMIZERS[optimizer](module.parameters()), OPTIMIZERS[optimizer](shadows)
    regulator = Regulator(module, own, encoder_paths(), InfoReg(window="always"), head="head")
    for epoch in range(2):
        starts = [p.detach().clone() for p in encoder]
        for p, shadow in zip(encoder, shadows, strict=True):
            shadow.data.copy_(p.data)
            for name, value in own.state.get(p, {}).items():
                other.state[shadow][name] = value.clone() if torch.is_tensor(value) else value
        regulator.begin_epoch(epoch)
        for batch in batches:
            own.zero_grad()
            with regulator.batch(batch["label"]):
                loss = module.training_step(batch, 0)
            loss.backward()
            for p, shadow in zip(encoder, shadows, strict=True):
                shadow.grad = p.grad.clone()
            own.step()
            other.step()
        regulator.end_epoch()
        went, free = (
            math.sqrt(sum(float((counted(a) - counted(b)).square().sum()) for a, b in pairs))
            for pairs in (zip(encoder, starts, strict=True), zip(shadows, starts, strict=True))
        )
        found = regulator.history[epoch]["displacement"]
        assert found["audio"] == pytest.approx(went / free, rel=1e-9)
        assert found["audio"] < 0.99, "the pull must show"
        assert found["video"] == pytest.approx(1.0, rel=1e-9), "the weaker is not pulled"


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_stronger_pull_keeps_an_encoder_nearer(optimizer):
    found = []
    for beta in (0.0, 1.0, 3.0):
        callback = always(beta=beta)
        fit(make(optimizer), callback, max_epochs=4)
        found.append(callback.history[0]["displacement"]["audio"])
    assert 1 > found[0] > found[1] > found[2] > 0


@pytest.mark.parametrize("clip", ["norm", "value"])
def test_a_clipped_step_is_clipped_without_the_pull_too(clip):
    callback = always()
    fit(make("sgd"), callback, gradient_clip_val=0.05, gradient_clip_algorithm=clip, max_epochs=4)
    for entry in callback.history:
        assert entry["displacement"]["video"] == pytest.approx(
            1.0, abs=1e-6 if clip == "norm" else 0.2
        )
        assert 0 < entry["displacement"]["audio"] < 1


def test_outside_the_window_and_for_other_optimizers_it_is_unknown():
    class Whole(torch.optim.SGD):
        """One whose step might depend on all weights together, for all we know."""

    class Module(Late):
        def configure_optimizers(self):
            return Whole(self.parameters(), lr=0.1)

    callback = always()
    fit(Module(), callback, max_epochs=4)
    assert all(e["displacement"] == {"audio": None, "video": None} for e in callback.history)
    shut = InfoRegCallback(encoder_paths(), head="head", window=(0, 2))
    fit(make("sgd"), shut, max_epochs=4)
    assert [e["displacement"]["audio"] is None for e in shut.history] == [False, False, True, True]


def test_measuring_it_leaves_the_training_alone(monkeypatch):
    measured = fit(make("adamw"), always(), max_epochs=4)["weights"][-1]
    monkeypatch.setattr("inforeg_lightning.methods._free_run.FreeRun.is_possible", lambda *_: False)
    assert_same_weights(measured, fit(make("adamw"), always(), max_epochs=4)["weights"][-1])


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_that_is_taken_up_inside_a_period_measures_the_same(tmp_path, optimizer):
    whole = always(period=6)
    fit(make(optimizer), whole, max_epochs=4)
    first, second = always(period=6), always(period=6)
    module = make(optimizer)
    trainer = quiet_trainer(tmp_path, max_epochs=2, callbacks=[first])
    trainer.fit(module)  # 8 steps: two into the second period
    trainer.save_checkpoint(tmp_path / "inside.ckpt")
    quiet_trainer(max_epochs=4, callbacks=[second]).fit(
        make(optimizer), ckpt_path=tmp_path / "inside.ckpt", weights_only=True
    )
    assert second.history == whole.history
