"""Every fusion head: its formula, its unimodal logits, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.models import (
    BottleneckFusion,
    ConcatFusion,
    FiLMFusion,
    GatedFusion,
    LateFusionClassifier,
    MMTMFusion,
    SumFusion,
)

FUSIONS = [ConcatFusion, SumFusion, GatedFusion, FiLMFusion, MMTMFusion, BottleneckFusion]
every_fusion = pytest.mark.parametrize("fusion", FUSIONS)

# Lightning 2.6 on newer torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")


class Encoder(nn.Linear):
    """A linear encoder that says how wide it is."""


def features(widths, batch=6):
    return [torch.randn(batch, width) for width in widths]


def classifier(fusion, **arguments):
    encoders = {"audio": Encoder(4, 3), "image": Encoder(5, 3), "text": Encoder(2, 4)}
    return LateFusionClassifier(encoders, num_classes=3, fusion=fusion, **arguments)


def batches(count=2, size=6):
    widths = {"audio": 4, "image": 5, "text": 2}
    return [
        {name: torch.randn(size, width) for name, width in widths.items()}
        | {"label": torch.arange(size) % 3}
        for _ in range(count)
    ]


@every_fusion
@pytest.mark.parametrize("widths", [(3, 3), (3, 5), (3, 5, 2)])
def test_every_parameter_learns_from_every_modality(fusion, widths):
    head = fusion(widths, 4)
    inputs = [z.requires_grad_() for z in features(widths)]
    logits = head(inputs)
    assert logits.shape == (6, 4)
    F.cross_entropy(logits, torch.arange(6) % 4).backward()
    for tensor in [*head.parameters(), *inputs]:
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
        assert tensor.grad.abs().sum() > 0


@every_fusion
def test_a_sample_does_not_depend_on_its_batch_nor_on_the_mode(fusion):
    head, inputs = fusion((3, 5), 4), features((3, 5))
    together = head.train()(inputs)
    alone = torch.cat([head.eval()([z[i : i + 1] for z in inputs]) for i in range(6)])
    torch.testing.assert_close(alone, together)


@every_fusion
def test_the_callback_scores_what_the_classifier_calls_unimodal(fusion):
    model = classifier(fusion, lr=0.0)
    (batch,) = batches(1)
    expected = {
        name: -F.cross_entropy(logits, batch["label"]).item()
        for name, logits in model.unimodal(model.features(batch)).items()
    }
    paths = {name: f"encoders.{name}" for name in model.modalities}
    callback = InfoRegCallback(paths, head="head", window="never")
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    quiet_trainer(max_epochs=1, callbacks=[callback]).fit(model, loader, loader)
    assert callback.history[0]["score"] == pytest.approx(expected, rel=1e-5)


@every_fusion
def test_inforeg_regulates_it(fusion):
    def trained(window):
        torch.manual_seed(0)
        model, data = classifier(fusion, lr=0.05), batches(4)
        paths = {name: f"encoders.{name}" for name in model.modalities}
        callback = InfoRegCallback(paths, head="head", window=window)
        loader = torch.utils.data.DataLoader(data, batch_size=None)
        quiet_trainer(max_epochs=2, callbacks=[callback]).fit(model, loader, loader)
        return torch.cat([p.detach().flatten() for p in model.encoders.parameters()])

    assert not torch.equal(trained("always"), trained("never"))


def test_splitting_and_zeroing_agree_where_both_apply():
    """They differ by one constant per class, which all modalities share."""
    split, zeroed = classifier(None), classifier(ConcatFusion)
    split.load_state_dict(
        {k: v for k, v in zeroed.state_dict().items() if not k.startswith("head")}
        | {"head.weight": zeroed.head.out.weight, "head.bias": zeroed.head.out.bias}
    )
    (batch,) = batches(1)
    for bias in (torch.zeros(3), torch.tensor([0.3, -1.0, 2.0])):
        with torch.no_grad():
            zeroed.head.out.bias.copy_(bias)
            split.head.bias.copy_(bias)
        ours = split.unimodal(split.features(batch))
        theirs = zeroed.unimodal(zeroed.features(batch))
        torch.testing.assert_close(split(batch), zeroed(batch))
        for name in ours:
            torch.testing.assert_close(ours[name] + bias * (1 - 1 / 3), theirs[name])


def test_sum_is_the_sum_of_its_layers():
    head, (x, y) = SumFusion((3, 5), 4), features((3, 5))
    first, second = head.layers
    torch.testing.assert_close(head([x, y]), first(x) + second(y))


def test_gated_is_the_published_module():
    head, (x, y) = GatedFusion((5, 5), 4), features((5, 5))
    first, second = head.layers
    torch.testing.assert_close(head([x, y]), head.out(torch.sigmoid(first(x)) * second(y)))
    other = GatedFusion((5, 5), 4, gate=1)
    first, second = other.layers
    torch.testing.assert_close(other([x, y]), other.out(torch.sigmoid(second(y)) * first(x)))


def test_film_is_the_published_module():
    head, (x, y) = FiLMFusion((5, 5), 4), features((5, 5))
    gamma, beta = torch.split(head.films[0](x), 5, dim=1)
    torch.testing.assert_close(head([x, y]), head.out(gamma * y + beta))
    assert sum(p.numel() for p in head.parameters()) == (5 * 10 + 10) + (5 * 4 + 4)


def test_mmtm_scales_features_by_gates_that_all_modalities_make():
    head, (x, y) = MMTMFusion((3, 5), 4), features((3, 5))
    hidden = torch.relu(head.gates.squeeze(torch.cat([x, y], dim=1)))
    assert hidden.shape == (6, 4)
    first, second = head.gates.excite.values()
    gated = torch.cat([first(hidden) * x, second(hidden) * y], dim=1)
    torch.testing.assert_close(head([x, y]), head.out(gated))


def test_a_bottleneck_is_all_that_modalities_exchange():
    head = BottleneckFusion((3, 5), 4, layers=2)
    tokens, other = torch.randn(6, 7, 3), torch.randn(6, 2, 5)
    changed = torch.randn(6, 2, 5)
    assert head([tokens, other]).shape == (6, 4)
    assert not torch.allclose(head([tokens, other]), head([tokens, changed]))
    # In one layer nothing has come back through the bottleneck: the logits add up.
    flat = BottleneckFusion((3, 5), 4, layers=1)
    zeros, none = torch.zeros_like(tokens), torch.zeros_like(other)
    torch.testing.assert_close(
        flat([tokens, other]) - flat([zeros, other]), flat([tokens, none]) - flat([zeros, none])
    )


def test_the_next_bottleneck_is_the_mean_of_what_modalities_made_of_it():
    head = BottleneckFusion((3, 5), 4, bottlenecks=2, layers=2)
    one, two = torch.randn(6, 7, 3), torch.randn(6, 2, 5)
    x, y = head.maps[0](one), head.maps[1](two)
    shared = head.bottleneck.expand(6, 2, -1)
    for of_x, of_y in head.layers:
        mixed_x, mixed_y = of_x(torch.cat([x, shared], 1)), of_y(torch.cat([y, shared], 1))
        x, y = mixed_x[:, :7], mixed_y[:, :2]
        shared = (mixed_x[:, 7:] + mixed_y[:, 2:]) / 2
    expected = (head.outs[0](x.mean(1)) + head.outs[1](y.mean(1))) / 2
    torch.testing.assert_close(head([one, two]), expected)


@every_fusion
def test_refuses_a_single_modality(fusion):
    with pytest.raises(ValueError, match=rf"{fusion.__name__} fuses two modalities or more, .*\[3"):
        fusion((3,), 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GatedFusion((3, 3), 2, gate=2), "gate is the index of a modality, 0 to 1, but is"),
        (lambda: FiLMFusion((3, 3), 2, conditions=-1), "conditions is the index .* but is -1"),
        (lambda: MMTMFusion((3, 3), 2, ratio=99), "two or more modalities, with 99 / 2 channels"),
        (lambda: BottleneckFusion((3, 3), 2, width=6), "width must be divisible by 4"),
    ],
)
def test_bad_arguments_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()
