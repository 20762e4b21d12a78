"""Inside a step nothing makes the host wait for the device: no value is read, none is copied there.

``helpers/reading.py`` counts; ``test_reads.py`` asks it of every method.
"""

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F

from helpers.modules import CLASSES, Late, encoder_paths
from helpers.reading import BATCHES, EPOCHS, NOTHING, Deep, reads
from inforeg_lightning import InfoRegCallback, report_unimodal
from inforeg_lightning.core.scores import linear_unimodal_logits
from inforeg_lightning.models import ConvEncoder, LateFusionClassifier


class Reporting(Late):
    def training_step(self, batch, batch_idx):
        features = self.features(batch)
        logits = linear_unimodal_logits(self.head.weight, self.head.bias, features)
        report_unimodal(self, logits, batch["label"])
        return F.cross_entropy(sum(logits.values()), batch["label"])


def paper(window="always", head="head", **settings):
    return InfoRegCallback(encoder_paths(3), head=head, window=window, **settings)


def official(head="head"):
    return InfoRegCallback.official(
        encoder_paths(3), head=head, strength={"audio": 0.9, "video": 0.5, "text": 0.1}
    )


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool(x.sum() > 0),
        lambda x: float(x.sum()),
        lambda x: int(x.sum()),
        lambda x: max(x.sum(), 0),
        lambda x: torch.equal(x, x),
        lambda x: x.nonzero(),
        lambda x: x.tolist(),
        lambda x: x.numpy(),
        lambda x: x.cpu(),
        lambda x: x.new_tensor([1.0, 2.0]),
        lambda x: torch.tensor([1.0, 2.0]),
    ],
)
def test_the_counter_counts(read):
    class Reading(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            read(pl_module.head.bias.grad)

    assert all(reads(Late(3), Reading()))


def test_the_counter_sees_the_forward_pass_and_the_loss():
    class Reading(Late):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * (2.0 if loss > 1e9 else 1.0)

    assert all(reads(Reading(3)))


def test_without_the_callback_a_step_reads_nothing():
    assert reads(Late(3)) == NOTHING


@pytest.mark.parametrize("window", ["always", "never", "paper", "official", "adaptive", "outside"])
@pytest.mark.parametrize(("make", "head"), [(Late, "head"), (Reporting, None), (Deep, "head")])
def test_the_papers_method(make, head, window):
    callback = paper(window, head)
    assert reads(make(3), callback) == NOTHING
    if window == "always":
        assert all(entry["penalty"]["audio"] > 0 for entry in callback.history)


@pytest.mark.parametrize(("make", "head"), [(Late, "head"), (Reporting, None)])
def test_the_published_variant(make, head):
    callback = official(head)
    assert reads(make(3), callback) == NOTHING
    assert callback.history[0]["in_window"]["audio"]


def test_an_optimiser_that_reads_by_itself_is_not_read_more():
    class Adam(Late):
        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), foreach=False)

    without = reads(Adam(3))
    assert any(without)
    # That which measures the displacement reads what this one does, counts that live on the host.
    for found, expected in zip(reads(Adam(3), paper()), without, strict=True):
        assert set(found) == set(expected)
        assert len(found) <= 2 * len(expected)


def test_the_librarys_own_classifier_reads_nothing_either():
    batch = {"audio": torch.randn(4, 1, 8, 8), "video": torch.randn(4, 1, 8, 8)}
    batch["label"] = torch.arange(4) % CLASSES
    module = LateFusionClassifier(
        {name: ConvEncoder(widths=(4, 8)) for name in ("audio", "video")}, CLASSES
    )
    loader = torch.utils.data.DataLoader([batch] * BATCHES, batch_size=None)
    module.train_dataloader = module.val_dataloader = lambda: loader
    paths = {"audio": "encoders.audio", "video": "encoders.video"}
    assert reads(module, InfoRegCallback(paths, head="head", window="always")) == NOTHING


def test_a_period_of_steps_reads_its_sums_once_at_its_end():
    steps = reads(Late(3), paper(period=3))
    at_an_end = [(index + 1) % 3 == 0 for index in range(1, EPOCHS * BATCHES)]
    assert [bool(found) for found in steps] == at_an_end
    # The sums, and for each modality how far its encoder has gone.
    assert all(found == ["tolist"] * 4 for found in steps if found)
