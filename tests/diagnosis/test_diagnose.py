"""A diagnosis from end to end, on a tiny model: what it trains, keeps, says and shows."""

import json

import joblib
import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.diagnosed import ENCODERS, Batches, Tiny, call, loaders, split
from helpers.trainers import quiet_trainer
from inforeg_lightning.callbacks import UnimodalLossesCallback
from inforeg_lightning.diagnosis import STATES, Diagnosis, conduct, diagnose


def test_it_says_a_verdict_a_state_and_a_sentence_each(diagnosed):
    found, _ = diagnosed
    assert found.verdict in STATES
    assert {*found.modalities} == {"a", "b"}
    for state in found.modalities.values():
        assert state.state in STATES
        assert "points" in state.sentence
    assert found.advice
    assert found.notes == []


def test_every_measure_is_in_the_table(diagnosed):
    found, _ = diagnosed
    assert {row["measure"] for row in found.table} >= {
        "accuracy",
        "fused − best alone",
        "left on the table",
        "probe of the encoder",
        "probe of joint − of alone",
        "lost when permuted",
        "Shapley share",
        "Shapley interaction",
        "calibration error",
    }
    shares = sum(found.value("Shapley share", m).value for m in "ab")
    assert found.value("accuracy", "a alone").value > 0.8
    assert 0 < shares <= 1


def test_it_prints_as_a_page_and_is_read_back_from_json(diagnosed):
    found, folder = diagnosed
    page = str(found)
    assert page.startswith(f"Diagnosis: {found.verdict.upper()}")
    assert max(map(len, page.splitlines())) <= 100
    assert str(Diagnosis.from_dict(json.loads(found.to_json()))) == page
    kept = json.loads((folder / "diagnosis.json").read_text())
    assert kept["verdict"] == found.verdict


def test_it_says_since_when_by_traces_signal_share_and_agreement(diagnosed):
    course = json.loads(diagnosed[0].to_json())["course"]
    for quantity in ("trace", "share", "agreement"):
        for modality in "ab":
            assert len(course[quantity][modality]) == 2
            assert all(value is not None for value in course[quantity][modality])
    assert all(0 < share <= 1 for share in course["share"]["a"])


def test_seven_modalities_are_diagnosed_with_sampled_shares():
    names = tuple("abcdefg")

    class Seven(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.encoders = nn.ModuleDict({m: nn.Linear(5, 2) for m in names})
            self.head = nn.Linear(14, 3)

        def training_step(self, batch, batch_idx):
            z = [encoder(batch[m]) for m, encoder in self.encoders.items()]
            return F.cross_entropy(self.head(torch.cat(z, dim=1)), batch["label"])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.3)

    data = loaders()
    for loader in data:
        noise = torch.randn(7, len(loader.data["label"]), 5, generator=torch.Generator())
        loader.data |= {m: 0.5 * x + loader.data["a"] for m, x in zip(names, noise, strict=True)}
    encoders = {m: f"encoders.{m}" for m in names}
    found = diagnose(Seven, *data, **call(encoders=encoders, max_epochs=1))
    shares = [found.value("Shapley share", m) for m in names]
    assert all(share.low < share.high for share in shares)
    assert any("Shapley shares are sampled: 7 modalities" in note for note in found.notes)


def test_its_picture_has_three_panels(diagnosed):
    found, _ = diagnosed
    titles = [panel.get_title() for panel in found.plot().axes]
    assert titles == [
        "What each knows alone, and fused",
        "What its encoder holds",
        "What the fused model uses",
    ]


def test_a_second_call_takes_what_is_there_and_trains_only_what_is_missing(diagnosed, monkeypatch):
    found, folder = diagnosed
    trained = []

    def counted(setup, job, kept):
        trained.append(job.name)
        return one(setup, job, kept)

    one = conduct._one
    monkeypatch.setattr(conduct, "_one", counted)
    again = diagnose(Tiny, *loaders(), **call(folder=folder, seeds=2))
    assert trained == []
    assert again.table == found.table
    (folder / "alone_b_1.run.json").unlink()
    diagnose(Tiny, *loaders(), **call(folder=folder, seeds=2))
    assert trained == ["b alone, seed 1"]


def test_a_modality_alone_never_sees_the_others():
    """The held encoder gets no gradient, and what it is given changes nothing."""
    seen = []

    class Watched(Tiny):
        def on_train_end(self):
            seen.append(self.encoder_b.weight.grad)

    one = diagnose(Watched, *loaders(), **call())
    noise = loaders()
    for loader in noise:
        loader.data = {**loader.data, "b": torch.randn_like(loader.data["b"])}
    other = diagnose(Tiny, *noise, **call())
    # Joint, a alone, b alone, unimodal losses.
    assert [grad is None for grad in seen] == [False, True, False, False]
    assert one.value("accuracy", "a alone") == other.value("accuracy", "a alone")
    assert one.value("accuracy", "b alone") != other.value("accuracy", "b alone")


def test_unimodal_losses_train_an_encoder_that_the_head_ignores():
    class Deaf(Tiny):
        """Its loss hardly reaches b, so that only a loss of its own can teach it."""

        def forward(self, batch):
            z = [torch.tanh(self.encoder_a(batch["a"])), 1e-4 * self.encoder_b(batch["b"])]
            return self.head(torch.cat(z, dim=1))

    moved = []

    class Watched(Deaf):
        def on_train_start(self):
            self.before = self.encoder_b.weight.detach().clone()

        def on_train_end(self):
            moved.append(float((self.encoder_b.weight.detach() - self.before).abs().max()))

    diagnose(Watched, *loaders(), **call())
    joint, _, _, losses = moved
    assert losses > 100 * joint
    assert losses > 1e-2


def test_unimodal_losses_are_those_of_the_callback_with_own_heads():
    weights = []

    class Linear(Tiny):
        """Its head takes what the encoders return, as the callback needs it."""

        def forward(self, batch):
            z = [self.encoder_a(batch["a"]), self.encoder_b(batch["b"])]
            return self.head(torch.cat(z, dim=1))

        def on_train_end(self):
            weights.append([p.detach().clone() for p in (*self.encoder_b.parameters(),)])

    diagnose(Linear, *loaders(), **call(seeds=[3]))
    torch.manual_seed(3)
    callback = UnimodalLossesCallback(ENCODERS, "head", target="label", unimodal_heads="own")
    trainer = quiet_trainer(callbacks=[callback], max_epochs=2)
    trainer.fit(Linear(), loaders()[0])
    *_, ours, theirs = weights
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def test_a_plain_torch_module_with_a_loss_function():
    class Plain(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder_a, self.encoder_b = nn.Linear(5, 4), nn.Linear(5, 4)
            self.head = nn.Linear(8, 3)

        def forward(self, batch):
            z = [self.encoder_a(batch["a"]), self.encoder_b(batch["b"])]
            return self.head(torch.cat(z, dim=1))

    def loss(module, batch):
        return F.cross_entropy(module(batch), batch["label"])

    def sgd(parameters):
        return torch.optim.SGD(parameters, lr=0.3)

    found = diagnose(lambda: (Plain(), loss), *loaders(), **call(optimizer=sgd))
    assert found.notes == []
    assert found.value("accuracy", "a alone").value > 0.8


class Data(L.LightningDataModule):
    def setup(self, stage):
        self.stages = {*getattr(self, "stages", ()), stage}

    def train_dataloader(self):
        return Batches(split(48, 0))

    def val_dataloader(self):
        return Batches(split(30, 1))

    def test_dataloader(self):
        assert "test" in self.stages
        return Batches(split(30, 2))


def test_a_data_module_is_the_same_as_its_loaders():
    one = diagnose(Tiny, Data(), **call())
    other = diagnose(Tiny, *loaders(), **call())
    assert one.table == other.table


def test_a_checkpoint_stands_for_the_joint_training(tmp_path):
    module = Tiny()
    with torch.no_grad():
        module.head.weight.zero_()
        module.head.bias.copy_(torch.tensor([0.0, 5.0, 0.0]))
        module.head.weight[:, 0] = 1e-6 * torch.arange(3)
    torch.save({"state_dict": module.state_dict()}, tmp_path / "last.ckpt")
    found = diagnose(Tiny, *loaders(), **call(checkpoint=tmp_path / "last.ckpt"))
    assert found.value("accuracy", "fused").value == pytest.approx(1 / 3, abs=1e-4)
    assert found.cost["joint epochs"] == 0


def test_all_other_runs_train_for_a_fraction_of_the_epochs():
    found = diagnose(Tiny, *loaders(), **call(max_epochs=4, fraction=0.5))
    assert found.cost["epochs"] == 4 + 3 * 2
    assert "4 of 10 epochs were the joint training itself" in str(found)


def test_it_leaves_the_random_state_and_the_threads_as_they_were():
    torch.manual_seed(3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    diagnose(Tiny, *loaders(), **call(threads=1, max_epochs=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_a_reference_is_shown(diagnosed):
    content = json.loads(diagnosed[0].to_json())
    found = Diagnosis.from_dict({**content, "reference": {"a": 0.416, "fused": 0.722}})
    assert "41.6 %" in str(found)
    assert found.plot().axes[0].get_legend_handles_labels()[1].count("reference") == 1


def test_encoders_of_frames_tokens_and_tuples():
    """Frames folded into the batch, and an encoder that returns more than its features."""

    class Frames(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(5, 4)

        def forward(self, x):
            return torch.stack([self.layer(x), self.layer(x)], dim=1).flatten(0, 1), x.sum()

    class Odd(Tiny):
        def __init__(self):
            super().__init__()
            self.encoder_b = Frames()

        def forward(self, batch):
            frames, _ = self.encoder_b(batch["b"])
            z = [self.encoder_a(batch["a"]), frames.unflatten(0, (-1, 2)).mean(dim=1)]
            return self.head(torch.cat(z, dim=1))

    found = diagnose(Odd, *loaders(), **call())
    assert found.notes == []
    assert found.value("probe of the encoder", "b joint").value > 0.4


def test_encoders_are_named_as_everywhere():
    assert [*ENCODERS] == ["a", "b"]


def test_runs_side_by_side_leave_what_runs_in_turn_leave(diagnosed, tmp_path):
    with joblib.parallel_config(backend="sequential"):  # processes would cost seconds to start
        found = diagnose(Tiny, *loaders(), **call(workers=2, seeds=2, folder=tmp_path))
    assert found.table == diagnosed[0].table
    assert len([*tmp_path.glob("*.npz")]) == 8
