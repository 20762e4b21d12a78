import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.trainers import quiet_trainer
from inforeg_lightning.data import SyntheticDataModule
from inforeg_lightning.models import ConvEncoder, LateFusionClassifier

# Lightning 2.6 on newer torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

SHAPES = {"audio": (1, 8, 8), "image": (1, 6, 6)}


class Linear(nn.Module):
    def __init__(self, shape, out_features):
        super().__init__()
        self.out_features = out_features
        self.linear = nn.Linear(torch.Size(shape).numel(), out_features)

    def forward(self, x):
        return self.linear(x.flatten(1))


def make(modalities=("audio", "image"), **arguments):
    torch.manual_seed(0)
    encoders = {name: Linear(SHAPES[name], 3 + i) for i, name in enumerate(modalities)}
    return LateFusionClassifier(encoders, num_classes=4, **arguments)


def make_batch(size=5):
    torch.manual_seed(1)
    batch = {name: torch.randn(size, *shape) for name, shape in SHAPES.items()}
    return batch | {"label": torch.arange(size) % 4}


def unimodal_by_hand(model, batch):
    """Each modality's logits, from the slices of the head, written out."""
    audio, image = (model.encoders[name](batch[name]) for name in ("audio", "image"))
    weight, bias = model.head.weight, model.head.bias
    return {
        "audio": audio @ weight[:, :3].T + bias / 2,
        "image": image @ weight[:, 3:].T + bias / 2,
    }


def silent(model):
    model.log = lambda *args, **kwargs: None
    return model


def test_the_head_sees_features_in_the_order_of_encoders():
    model, batch = make(), make_batch()
    with torch.no_grad():
        model.head.bias.copy_(torch.arange(4.0))
    torch.testing.assert_close(model(batch), sum(unimodal_by_hand(model, batch).values()))


def test_the_loss_is_joint_and_adds_one_a_modality_on_request():
    batch = make_batch()
    joint, star = silent(make()), silent(make(unimodal_losses=True))
    expected = F.cross_entropy(joint(batch), batch["label"])
    torch.testing.assert_close(joint.training_step(batch, 0), expected)
    expected = F.cross_entropy(star(batch), batch["label"])
    for logits in unimodal_by_hand(star, batch).values():
        expected = expected + F.cross_entropy(logits, batch["label"])
    loss = star.training_step(batch, 0)
    torch.testing.assert_close(loss, expected)
    gradients = torch.autograd.grad(expected, star.head.weight)
    torch.testing.assert_close(torch.autograd.grad(loss, star.head.weight), gradients)


def test_logs_the_accuracies_of_the_whole_epoch():
    # 40 samples in batches of 16: the last is smaller, and a mean over batches would be wrong.
    data = SyntheticDataModule(SHAPES, sizes=(40, 40, 40), batch_size=16, noise=3.0)
    model = make(lr=0.0)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(model, datamodule=data)
    logged = dict(trainer.callback_metrics)
    logged |= trainer.test(model, datamodule=data, verbose=False)[0]
    for stage, loader in (
        ("train", data.train_dataloader()),
        ("val", data.val_dataloader()),
        ("test", data.test_dataloader()),
    ):
        batches = list(loader)
        batch = {key: torch.cat([b[key] for b in batches]) for key in batches[0]}
        with torch.no_grad():
            predictions = {"accuracy": model(batch)} | {
                f"accuracy_{name}": logits
                for name, logits in unimodal_by_hand(model, batch).items()
            }
            loss = F.cross_entropy(predictions["accuracy"], batch["label"])
        assert float(logged[f"{stage}/loss"]) == pytest.approx(loss.item(), rel=1e-5)
        for name, logits in predictions.items():
            accuracy = (logits.argmax(1) == batch["label"]).float().mean().item()
            assert float(logged[f"{stage}/{name}"]) == pytest.approx(accuracy), (stage, name)


def test_one_encoder_is_the_unimodal_baseline():
    data = SyntheticDataModule(SHAPES, sizes=(64, 32, 32), noise=0.5)
    model = make(modalities=("image",), lr=0.05)
    trainer = quiet_trainer(max_epochs=5)
    trainer.fit(model, datamodule=data)
    logged = trainer.callback_metrics
    assert logged["val/accuracy"] > 0.9
    assert not [name for name in logged if "accuracy_" in name]


def test_training_learns():
    data = SyntheticDataModule(SHAPES, sizes=(64, 32, 32), noise=0.5)
    model = LateFusionClassifier(
        {name: ConvEncoder(widths=(8, 16)) for name in SHAPES}, num_classes=4, lr=0.05
    )
    trainer = quiet_trainer(max_epochs=8)
    trainer.fit(model, datamodule=data)
    assert trainer.callback_metrics["val/accuracy"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"step_size": 2, "gamma": 0.1}, [1, 1, 0.1, 0.1, 0.01]),
        ({"warmup_epochs": 3}, [0.25, 0.5, 0.75, 1, 1]),
        ({"warmup_epochs": 1, "step_size": 3, "gamma": 0.5}, [0.5, 1, 1, 0.5, 0.5]),
    ],
)
def test_the_rate_warms_up_and_steps_down(arguments, expected):
    configured = make(lr=0.2, momentum=0.8, weight_decay=0.01, **arguments).configure_optimizers()
    optimizer, schedule = configured["optimizer"], configured["lr_scheduler"]
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["momentum"], group["weight_decay"]) == (0.8, 0.01)
    rates = []
    for _ in expected:
        rates.append(group["lr"] / 0.2)
        optimizer.step()
        schedule.step()
    assert rates == pytest.approx(expected)


def test_defaults_are_the_published_ones():
    group = make().configure_optimizers()["optimizer"].param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.002, 0.9, 1e-4)
    model = make()
    assert (model.step_size, model.gamma, model.unimodal_losses) == (30, 0.1, False)


def test_a_checkpoint_holds_plain_hyperparameters_and_loads(tmp_path):
    data = SyntheticDataModule(SHAPES, sizes=(16, 16, 16))
    model = make(lr=0.1)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(model, datamodule=data)
    trainer.save_checkpoint(tmp_path / "model.ckpt", weights_only=True)
    # weights_only: no module may hide among the hyperparameters.
    saved = torch.load(tmp_path / "model.ckpt", weights_only=True)
    assert saved["hyper_parameters"]["lr"] == 0.1
    assert "encoders" not in saved["hyper_parameters"]
    fresh = {name: Linear(shape, 3 + i) for i, (name, shape) in enumerate(SHAPES.items())}
    loaded = LateFusionClassifier.load_from_checkpoint(tmp_path / "model.ckpt", encoders=fresh)
    batch = make_batch()
    torch.testing.assert_close(loaded(batch), model(batch))


def test_training_leaves_the_callers_mapping_alone():
    encoders = {name: Linear(shape, 3) for name, shape in SHAPES.items()}
    before = copy.copy(encoders)
    model = LateFusionClassifier(encoders, num_classes=4)
    assert encoders == before
    assert model.encoders["audio"] is encoders["audio"]


def test_instantiates_from_a_hydra_configuration():
    hydra = pytest.importorskip("hydra")
    omegaconf = pytest.importorskip("omegaconf")
    config = omegaconf.OmegaConf.create(
        {
            "_target_": "inforeg_lightning.models.LateFusionClassifier",
            "num_classes": 4,
            "encoders": {
                name: {
                    "_target_": "inforeg_lightning.models.ConvEncoder",
                    "widths": [8, 16],
                }
                for name in SHAPES
            },
        }
    )
    model = hydra.utils.instantiate(config)
    assert model.modalities == ("audio", "image")
    assert model(make_batch()).shape == (5, 4)


@pytest.mark.parametrize(
    ("encoders", "num_classes", "message"),
    [
        ({}, 4, "encoders is empty"),
        ({"audio": nn.Identity()}, 4, r"encoders\['audio'\] is a Identity without .* out_features"),
        ({"label": ConvEncoder()}, 4, "modality called 'label'"),
        ({"a.b": ConvEncoder()}, 4, "modality called 'a.b'"),
        ({"audio": ConvEncoder()}, 1, "num_classes must be at least 2, got 1"),
    ],
)
def test_refuses_what_cannot_work(encoders, num_classes, message):
    with pytest.raises(ValueError, match=message):
        LateFusionClassifier(encoders, num_classes)
