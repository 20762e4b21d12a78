"""Unimodal heads that a callback lends a module: for its optimisers, not for its weights."""

from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.modules import CLASSES, Late, assert_same_weights, encoder_paths, heads_of, snapshot
from helpers.regulated import fit
from helpers.resuming import Inside, Resumable
from helpers.trainers import quiet_trainer
from inforeg_lightning.callbacks import MMParetoCallback, UnimodalLossesCallback
from inforeg_lightning.callbacks._unimodal_heads import add_unimodal_heads

EPOCHS = 2


def lending(heads="own", **settings):
    return UnimodalLossesCallback(encoder_paths(), "head", unimodal_heads=heads, **settings)


def trained(module, callback, **settings):
    return fit(module, callback, **{"max_epochs": EPOCHS} | settings)


class Looking(Late):
    """Says what it has while its optimisers are configured and while it trains."""

    def configure_optimizers(self):
        heads = self.unimodal_heads
        self.sizes = {name: (h.in_features, h.out_features) for name, h in heads.items()}
        return super().configure_optimizers()

    def training_step(self, batch, batch_idx):
        self.draw = torch.random.get_rng_state()
        self.inside = {*self.state_dict()}
        return super().training_step(batch, batch_idx)


def test_they_are_there_before_the_optimisers_and_in_no_weights():
    module, callback = Looking(), lending()
    trained(module, callback)
    assert module.sizes == {"audio": (5, CLASSES), "video": (4, CLASSES)}
    assert module.inside == {*module.state_dict()} == {*Late().state_dict()}
    assert not hasattr(module, "unimodal_heads")
    assert {name: type(head) for name, head in callback.unimodal_heads.items()} == {
        "audio": nn.Linear,
        "video": nn.Linear,
    }
    assert callback.history[0]["unimodal_heads"] == "own"
    shared = lending("shared")
    trained(Late(), shared)
    assert shared.unimodal_heads == {}
    assert shared.history[0]["unimodal_heads"] == "shared"


def test_making_them_draws_nothing_from_torchs_generator():
    class Drawing(Late):
        def training_step(self, batch, batch_idx):
            self.state = torch.random.get_rng_state()
            return super().training_step(batch, batch_idx)

    states = []
    for callback in (lending(), lending("shared")):
        torch.manual_seed(7)
        module = Drawing()
        trained(module, callback)
        states.append(module.state)
    assert torch.equal(*states)


def test_their_first_weights_depend_on_the_seed_alone():
    class Frozen(Late):
        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    found = []
    for seed, drawn in ((1, 0), (1, 5), (2, 0)):
        torch.manual_seed(seed)
        torch.rand(drawn)
        callback = lending()
        trained(Frozen(), callback)
        found.append(heads_of(callback))
    assert_same_weights(found[0], found[1])
    assert not torch.equal(found[0]["audio.weight"], found[2]["audio.weight"])
    assert float(found[0]["audio.weight"].abs().max()) <= 5**-0.5, "as every nn.Linear"


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("given", [False, True])
def test_a_resumed_run_has_the_same_heads(tmp_path, given):
    def made():
        if not given:
            return lending()
        torch.manual_seed(3)
        return lending({"audio": nn.Linear(5, 3).double(), "video": nn.Linear(4, 3).double()})

    end = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, save_on_train_epoch_end=True)
    whole = made()
    settings = {"max_epochs": 3, "enable_checkpointing": True}
    fit(Resumable(), whole, Inside(tmp_path, every=5), end, **settings)
    for step in (10, 12):
        torch.manual_seed(step)
        resumed = made()
        path = tmp_path / f"step={step}.ckpt"
        assert {*torch.load(path, weights_only=True)["state_dict"]} == {*Resumable().state_dict()}
        fit(Resumable(), resumed, max_epochs=3, ckpt_path=path)
        assert_same_weights(heads_of(resumed), heads_of(whole))
        assert resumed.history == whole.history


class Examined(Late):
    def test_step(self, batch, batch_idx):
        self(batch)

    test_dataloader = Late.train_dataloader


def test_a_checkpoint_loads_without_the_callback(tmp_path):
    trainer = trained(Examined(), lending())["trainer"]
    trainer.save_checkpoint(tmp_path / "end.ckpt")
    trainer.test(ckpt_path=tmp_path / "end.ckpt", verbose=False, weights_only=True)
    module = Examined.load_from_checkpoint(tmp_path / "end.ckpt", weights_only=True)
    assert_same_weights(snapshot(module), snapshot(trainer.lightning_module))


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.parametrize(("before", "after"), [("own", "shared"), ("shared", "own"), (None, "own")])
def test_a_checkpoint_of_other_heads_is_refused(tmp_path, before, after):
    first = None if before is None else lending(before)
    trained(Late(), first)["trainer"].save_checkpoint(tmp_path / "end.ckpt")
    with pytest.raises(ValueError, match="Pass the same `unimodal_heads`, or start without"):
        trained(Late(), lending(after), ckpt_path=tmp_path / "end.ckpt", max_epochs=3)


class Grouped(Late):
    """Its optimiser is told of every part by name, and a schedule of every group."""

    parts = (("audio_encoder", 0.1), ("video_encoder", 0.1), ("head", 0.1))

    def configure_optimizers(self):
        groups = [{"params": [*getattr(self, n).parameters()], "lr": lr} for n, lr in self.parts]
        optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, [lambda epoch: 1.0] * len(groups))
        return {"optimizer": optimizer, "lr_scheduler": schedule}


def test_those_that_no_optimiser_was_told_of_are_trained_as_the_joint_head_is():
    told, untold = lending(), lending()
    ours, theirs = trained(Grouped(), untold), trained(Late(), told)
    assert_close_weights(ours["weights"], theirs["weights"], atol=1e-12)
    assert_close_weights([heads_of(untold)], [heads_of(told)], atol=1e-12)


def test_without_an_optimiser_for_the_joint_head_they_are_refused():
    class Headless(Grouped):
        parts = Grouped.parts[:2]

    with pytest.raises(ValueError, match=r"give `self.unimodal_heads.parameters\(\)`"):
        trained(Headless(), lending())


class WithHeads(Late):
    """Has classifiers of its own, which its loss does not use."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.alone = nn.ModuleDict(
                {"audio": nn.Linear(5, CLASSES), "video": nn.Linear(4, CLASSES)}
            ).double()


def test_heads_may_be_the_users_own_by_path_or_by_module():
    by_path, module = lending({m: f"alone.{m}" for m in ("audio", "video")}), WithHeads()
    before = snapshot(module)
    expected = trained(module, by_path)
    assert "unimodal_heads" not in by_path.state_dict(), "they are in the module's"
    assert not torch.equal(before["alone.audio.weight"], snapshot(module)["alone.audio.weight"])
    inside = WithHeads()
    by_module = lending({**inside.alone})
    assert_same_weights(trained(inside, by_module)["weights"][-1], expected["weights"][-1])
    by_module.load_state_dict(by_module.state_dict())
    outside = lending({**WithHeads().alone})
    found = trained(Late(), outside)["weights"][-1]
    assert_same_weights(found, {n: w for n, w in expected["weights"][-1].items() if n in found})
    assert_same_weights(heads_of(outside), heads_of(by_path))
    assert expected["history"][0]["unimodal_heads"] == "given"


@pytest.mark.parametrize(
    ("heads", "error", "says"),
    [
        ("mine", ValueError, "must be 'own', 'shared' or a mapping, but is 'mine'"),
        (None, TypeError, "map each modality to an attribute path"),
        ({"audio": "a"}, ValueError, r"for each of \['audio', 'video'\]"),
        ({"audio": "a", "video": 3}, TypeError, "an attribute path or a module"),
    ],
)
def test_what_is_no_heads_is_refused(heads, error, says):
    with pytest.raises(error, match=says):
        lending(heads)


def test_a_path_to_no_head_is_refused():
    with pytest.raises(ValueError, match=r"`unimodal_heads\['audio'\]` is 'nowhere'"):
        trained(Late(), lending({"audio": "nowhere", "video": "head"}))


class Pooled(Late):
    """Features of tokens, which the head pools."""

    class Pool(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(9, CLASSES)

        def forward(self, audio, video):
            return self.out(torch.cat([audio.mean(1), video.mean(1)], 1))

    def make_head(self, width):
        return self.Pool()

    def forward(self, batch):
        f = {name: z.unsqueeze(1).expand(-1, 2, -1) for name, z in self.features(batch).items()}
        return self.head(f["audio"], f["video"])


def test_features_that_a_linear_head_cannot_take_are_refused_before_the_first_step():
    module = Pooled()
    before = snapshot(module)
    with pytest.raises(ValueError, match=r"audio, but its features have shape \(8, 2, 5\)"):
        trained(module, lending())
    assert_same_weights(snapshot(module), before)


def test_widths_that_layers_do_not_tell_are_asked_for():
    class Nameless(Late):
        class Scale(nn.Module):
            def __init__(self):
                super().__init__()
                self.factor = nn.Parameter(torch.ones(5))

            def forward(self, x):
                return x[:, :5] * self.factor

        def make_encoder(self, inputs, width):
            return self.Scale() if width == 5 else super().make_encoder(inputs, width)

    with pytest.raises(ValueError, match=r"pass unimodal_heads=\{'audio': nn.Linear\(<width>, 3\)"):
        trained(Nameless(), lending())


def test_widths_that_layers_tell_wrongly_are_named():
    class Doubled(Late):
        def features(self, batch):
            found = super().features(batch)
            return {name: torch.cat([z, z[:, :1]], 1) for name, z in found.items()}

        def make_head(self, width):
            return nn.Linear(width + 2, CLASSES)

    with pytest.raises(ValueError, match=r"unimodal_heads=\{'audio': nn.Linear\(6, 3\)"):
        trained(Doubled(), lending())


@pytest.mark.parametrize("hook", ["setup", "configure_model"])
def test_encoders_replaced_by_a_hook_get_heads_of_their_width(hook):
    class Replacing(Late):
        def replace(self, stage=None):
            self.audio_encoder, self.head = nn.Linear(6, 2).double(), nn.Linear(6, 3).double()

    setattr(Replacing, hook, Replacing.replace)
    module, callback = Replacing(), lending()
    trained(module, callback)
    assert callback.unimodal_heads["audio"].in_features == 2
    assert hook not in vars(module)
    given = {"audio": nn.Linear(2, CLASSES).double(), "video": nn.Linear(4, CLASSES).double()}
    callback = lending(given)
    trained(Replacing(), callback)
    assert {*callback.state_dict()["unimodal_heads"]} == {"audio", "video"}


def test_a_name_that_is_taken_is_refused():
    module = WithHeads()
    module.unimodal_heads = module.alone
    with pytest.raises(ValueError, match=r"\{'audio': 'unimodal_heads.audio'"):
        trained(module, lending())


def test_two_callbacks_lend_heads_of_their_own_each():
    class Counting(Looking):
        def configure_optimizers(self):
            self.lent = [name for name, _ in self.named_children() if "unimodal" in name]
            return super().configure_optimizers()

    both = lending(combine=True), MMParetoCallback(encoder_paths(), "head", combine=True)
    module = Counting()
    fit(module, *both, max_epochs=1)
    assert module.lent == ["unimodal_heads", "unimodal_heads_2"]
    assert module.inside == {*module.state_dict()} == {*Late().state_dict()}
    assert [*dict(module.named_children())] == [*dict(Late().named_children())]
    ours, theirs = (callback.unimodal_heads["audio"] for callback in both)
    assert ours is not theirs
    assert torch.equal(ours.weight, theirs.weight), "from the same draw, by the same loss"


class Validated(Late):
    def validation_step(self, batch, batch_idx):
        self(batch)

    val_dataloader = Late.train_dataloader


def test_an_average_of_the_weights_beside_it():
    alone, ours = trained(Validated(), lending()), lending()
    averaged = fit(Validated(), ours, EMAWeightAveraging(decay=0.9), max_epochs=EPOCHS)
    for mine, theirs in zip(averaged["weights"], alone["weights"], strict=True):
        assert_same_weights(mine, theirs)
    trainer = quiet_trainer(callbacks=[EMAWeightAveraging(decay=0.9), lending()])
    with pytest.raises(ValueError, match="EMAWeightAveraging stands before UnimodalLossesCallback"):
        trainer.fit(Validated())


def test_a_strategy_that_shards_is_refused():
    callback = lending()
    strategy = type("ModelParallelStrategy", (), {})()
    with pytest.raises(ValueError, match="Pass unimodal_heads='shared', or use strategy='ddp'"):
        add_unimodal_heads(callback, callback.engine, SimpleNamespace(strategy=strategy))


class Perceptron(WithHeads):
    def make_head(self, width):
        return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, CLASSES))


@pytest.mark.parametrize("kind", [WithHeads, Perceptron])
@pytest.mark.parametrize(
    "heads", ["own", "shared", {"audio": "alone.audio", "video": "alone.video"}]
)
def test_logits_with_their_heads_detached_train_the_encoders_alone(kind, heads):
    callback, module = lending(heads), kind()
    seen = []

    def look(forward):
        attached = callback.engine.heads.logits(forward)
        detached = callback.engine.heads.logits(forward, detach_head=True)
        for modality in attached:
            assert torch.equal(attached[modality], detached[modality])
            encoder = [*getattr(module, f"{modality}_encoder").parameters()]
            heads_of_all = [p for n, p in module.named_parameters() if "_encoder" not in n]
            of = {
                name: torch.autograd.grad(
                    logits[modality].square().sum(), [*encoder, *heads_of_all], retain_graph=True,
                    allow_unused=True,
                )
                for name, logits in (("attached", attached), ("detached", detached))
            }  # fmt: skip
            n = len(encoder)
            for mine, theirs in zip(of["detached"][:n], of["attached"][:n], strict=True):
                torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
            assert all(g is None for g in of["detached"][n:])
            assert any(g is not None for g in of["attached"][n:])
            seen.append(modality)
        return F.softmax(forward.output, -1)

    callback.method.forward = look
    trained(module, callback, max_epochs=1, limit_train_batches=1)
    assert seen == ["audio", "video"]
