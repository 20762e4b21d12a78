"""What does not allow a diagnosis is one clear sentence, and what was measured is kept."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.diagnosed import Batches, Tiny, call, loaders, split
from inforeg_lightning.diagnosis import UNCLEAR, DiagnosisError, diagnose


def refused(build, data=None, **changes):
    with pytest.raises((DiagnosisError, ValueError)) as caught:
        diagnose(build, *(loaders() if data is None else data), **call(**changes))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_build_function_that_is_not_deterministic_in_shape():
    widths = itertools.count(4)
    message = refused(lambda: Tiny(next(widths)))
    assert "encoder_a.bias is (4,) in one module and (5,) in the next" in message


def test_a_build_function_that_returns_the_same_module():
    module = Tiny()
    assert "the same module twice" in refused(lambda: module)


def test_a_build_function_that_returns_something_else():
    assert "returns dict" in refused(dict)


def test_a_loader_that_is_an_iterator():
    train, validation, test = loaders()
    assert "`train` cannot be iterated twice" in refused(Tiny, [iter(train), validation, test])


def test_a_loader_whose_data_run_out():
    class Once:
        def __init__(self):
            self.left = iter(Batches(split(30, 2)))

        def __iter__(self):
            yield from self.left

    train, validation, _ = loaders()
    assert "`test` cannot be iterated twice" in refused(Tiny, [train, validation, Once()])


def test_an_empty_loader_and_a_missing_one():
    train, validation, _ = loaders()
    assert "`test` is empty" in refused(Tiny, [train, validation, []])
    assert "`validation` must be a loader, but is NoneType" in refused(Tiny, [train])


def test_a_modality_whose_encoder_is_not_called():
    class Shortcut(Tiny):
        def forward(self, batch):
            z = [self.encoder_a(batch["a"]), F.linear(batch["b"], self.encoder_b.weight)]
            return self.head(torch.cat(z, dim=1))

    assert "b cannot be left out: its encoder returned no features" in refused(Shortcut)


def test_something_beside_the_encoders_that_reaches_the_head():
    class Leaky(Tiny):
        def forward(self, batch):
            z = self.encoder_b(batch["b"]) + batch["a"][:, :4]
            return self.head(torch.cat([self.encoder_a(batch["a"]), z], dim=1))

    assert "something else reaches the head" in refused(Leaky)


def test_an_encoder_that_the_head_does_not_read():
    class Unread(Tiny):
        def forward(self, batch):
            self.encoder_b(batch["b"])
            z = self.encoder_a(batch["a"])
            return self.head(torch.cat([z, z], dim=1))

    assert "b cannot be left out: the logits stay the same" in refused(Unread)


def test_features_that_may_not_be_zero():
    class Norm(Tiny):
        def forward(self, batch):
            a, b = self.encoder_a(batch["a"]), self.encoder_b(batch["b"])
            return self.head(torch.cat([a, b / b.norm(dim=1, keepdim=True)], dim=1))

    assert "b cannot be left out: with its features at zero the logits are not finite" in refused(
        Norm
    )


def test_a_path_that_leads_nowhere_and_a_head_that_is_not_called():
    assert "encoders['b']" in refused(Tiny, encoders={"a": "encoder_a", "b": "gone"})

    class Spare(Tiny):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(2, 2)

    assert "`head='spare'` is not called" in refused(Spare, head="spare")


def test_a_target_that_is_no_class():
    assert "only classification" in refused(Tiny, target=lambda batch: batch["a"])


@pytest.mark.parametrize(
    ("argument", "value"),
    [("max_epochs", 0), ("fraction", 0.0), ("workers", 0), ("seeds", 0), ("seeds", [-1])],
)
def test_arguments_out_of_range(argument, value):
    assert f"`{argument}`" in refused(Tiny, **{argument: value})


def test_a_folder_of_another_diagnosis(diagnosed):
    assert "runs of other arguments" in refused(Tiny, folder=diagnosed[1], max_epochs=3)


def test_a_checkpoint_of_another_network():
    message = refused_note(Tiny, checkpoint=Tiny(width=7).state_dict())
    assert "of another network than `build` makes" in message


def refused_note(build, **changes):
    (note,) = diagnose(build, *loaders(), **call(**changes)).notes
    return note


def test_nan_in_a_run_is_a_note_and_the_rest_is_measured_and_kept(tmp_path):
    class Sick(Tiny):
        """Sick if it is trained on b without a."""

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            lonely = not bool(self.encoder_a(batch["a"]).any())
            return loss * float("nan") if lonely else loss

    found = diagnose(Sick, *loaders(), **call(folder=tmp_path))
    (note,) = found.notes
    assert note.startswith("b alone, seed 0: its logits are NaN or infinite")
    assert found.verdict == UNCLEAR
    assert found.value("accuracy", "fused") is not None
    assert sorted(path.name for path in tmp_path.glob("*.run.json")) == [
        "alone_a_0.run.json",
        "joint__0.run.json",
        "unimodal_losses__0.run.json",
    ]


def test_an_error_in_a_run_is_a_note():
    class Breaks(Tiny):
        def on_train_epoch_end(self):
            if hasattr(self, "_diagnosis_heads"):
                raise RuntimeError("out of paper")

    note = refused_note(Breaks)
    assert note == "unimodal losses, seed 0: out of paper (RuntimeError)"


def test_nan_in_the_joint_run_leaves_what_each_modality_has_alone():
    class Sick(Tiny):
        """Sick if it is trained on both, without further heads."""

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            both = bool(self.encoder_a(batch["a"]).any() and self.encoder_b(batch["b"]).any())
            return loss * float("nan") if both else loss

    found = diagnose(Sick, *loaders(), **call())
    assert [note.partition(":")[0] for note in found.notes] == [
        "joint, seed 0",
        "unimodal losses, seed 0",
    ]
    assert found.verdict == UNCLEAR
    assert found.value("accuracy", "a alone") is not None
    assert found.value("accuracy", "fused") is None
    assert "cannot tell" in str(found).lower()
