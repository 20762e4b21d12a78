"""Targets of every task: a score is the negative of a plain torch loss of unimodal logits."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.modules import WIDTHS, Late, make_batches
from helpers.set_ups import always, fit, is_finite, linear_share, mean

SAMPLES = 8


class Task(Late):
    """A linear head, its logits reshaped for a task, and a loss."""

    def __init__(self, outputs, targets, loss, shape=lambda z: z):
        self.outputs = outputs
        self.loss, self.shape = loss, shape
        batches = make_batches(batches=len(targets), size=SAMPLES)
        for batch, target in zip(batches, targets, strict=True):
            batch["label"] = target
        super().__init__(batches=batches, lr=0.0, weight_decay=0.0)

    def make_head(self, width):
        return Shaped(width, self.outputs, self.shape_of)

    def shape_of(self, z):
        return self.shape(z)

    def training_step(self, batch, batch_idx):
        return self.loss(self(batch), batch["label"])

    def reference(self, name):
        """Zeroes the other modality's features, runs the head and takes the loss."""
        found = []
        for batch in self.batches:
            z = self.features(batch)
            only = [x if n == name else torch.zeros_like(x) for n, x in z.items()]
            loss = self.loss(self.head(torch.cat(only, 1)), batch["label"])
            found.append(-float(loss.detach()))
        return mean(found)


class Shaped(nn.Module):
    """A linear layer whose output is reshaped: not a plain linear layer any more."""

    def __init__(self, inputs, outputs, shape):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.shape = [shape]  # not a module

    def forward(self, z):
        return self.shape[0](self.linear(z))


class Plain(Task):
    """With a head that is a linear layer and nothing else."""

    def make_head(self, width):
        return nn.Linear(width, self.outputs)

    def reference(self, name):
        found = []
        for batch in self.batches:
            z = self.features(batch)
            first = 0 if name == "audio" else WIDTHS["audio"][1]
            logits = linear_share(self.head, z[name], first, 2)
            found.append(-float(self.loss(logits, batch["label"])))
        return mean(found)


def assert_is_the_loss(module, **settings):
    callback = always(**settings)
    fit(module, callback, max_epochs=1)
    expected = {name: module.reference(name) for name in module.names}
    assert callback.history[0]["score"] == pytest.approx(expected, rel=1e-9)
    assert expected["audio"] != pytest.approx(expected["video"], rel=1e-3)
    assert callback.history[0]["skipped"] == 0
    assert is_finite(callback.history)
    return callback


def classes(*shape, count=3, seed=0, batches=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(count, (SAMPLES, *shape), generator=generator) for _ in range(batches)]


def normal(*shape, seed=0, batches=2):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(SAMPLES, *shape, generator=generator, dtype=torch.float64)
        for _ in range(batches)
    ]


def masked(targets, value, share=0.4):
    generator = torch.Generator().manual_seed(9)
    made = []
    for target in targets:
        drop = torch.rand(target.shape, generator=generator) < share
        drop.view(-1)[0], drop.view(-1)[-1] = True, False
        made.append(torch.where(drop, torch.tensor(value, dtype=target.dtype), target))
    return made


@pytest.mark.parametrize("head", [Plain, Task])
@pytest.mark.parametrize("ignore_index", [-100, -1, 0, 255, 7])
def test_any_index_may_count_nowhere(ignore_index, head):
    targets = masked(classes(), ignore_index)

    def loss(logits, target):
        return F.cross_entropy(logits, target, ignore_index=ignore_index)

    assert_is_the_loss(head(3, targets, loss), ignore_index=ignore_index)


def test_a_batch_that_counts_nowhere_is_left_out():
    targets = [classes()[0], torch.full((SAMPLES,), -1)]

    def loss(logits, target):
        return F.cross_entropy(logits, target, ignore_index=-1, reduction="sum") / SAMPLES

    module, callback = Plain(3, targets, loss), always(ignore_index=-1)
    with pytest.warns(UserWarning, match="1 of 2 steps"):
        fit(module, callback)
    module.batches = module.batches[:1]
    assert callback.history[0]["score"]["audio"] == pytest.approx(module.reference("audio"))


@pytest.mark.parametrize(
    "dtype", [torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64], ids=str
)
def test_integers_of_every_type(dtype):
    targets = [target.to(dtype) for target in classes()]
    module = Plain(3, targets, lambda logits, target: F.cross_entropy(logits, target.long()))
    assert_is_the_loss(module)


def test_a_byte_is_not_wrapped_around_into_the_ignored_index():
    targets = [torch.full((SAMPLES,), 156, dtype=torch.uint8)]  # -100 modulo 256
    targets[0][0] = 3
    module = Plain(200, targets, lambda logits, target: F.cross_entropy(logits, target.long()))
    assert_is_the_loss(module)


def test_a_column_of_indices():
    targets = [target[:, None] for target in classes()]
    module = Plain(3, targets, lambda logits, target: F.cross_entropy(logits, target[:, 0]))
    assert_is_the_loss(module)


@pytest.mark.parametrize("head", [Plain, Task])
def test_soft_targets(head):
    targets = [x.softmax(1) for x in normal(3)]
    assert_is_the_loss(head(3, targets, F.cross_entropy))


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("ignore_index", [-100, 0])
def test_one_hot_targets(dtype, ignore_index):
    targets = [F.one_hot(target, 3).to(dtype) for target in classes()]
    module = Plain(3, targets, lambda logits, target: F.cross_entropy(logits, target.double()))
    assert_is_the_loss(module, ignore_index=ignore_index)


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_rows_of_soft_targets_that_count_nowhere(value):
    targets = [x.softmax(1) for x in normal(3)]
    for target in targets:
        target[:3] = value

    def loss(logits, target):
        return F.cross_entropy(logits[3:], target[3:])

    assert_is_the_loss(Plain(3, targets, loss), ignore_index=value)


SHAPES = {
    "(B, T, C)": ((5,), lambda z: z.view(-1, 5, 3), lambda z: z.transpose(1, 2)),
    "(B, C, T)": ((5,), lambda z: z.view(-1, 3, 5), lambda z: z),
    "(B, C, H, W)": ((5, 4), lambda z: z.view(-1, 3, 5, 4), lambda z: z),
}


@pytest.mark.parametrize("ignore_index", [-100, 255])
@pytest.mark.parametrize("name", SHAPES)
def test_positions_are_samples(name, ignore_index):
    shape, view, classes_second = SHAPES[name]
    targets = masked(classes(*shape), ignore_index)

    def loss(logits, target):
        return F.cross_entropy(classes_second(logits), target, ignore_index=ignore_index)

    module = Task(3 * math.prod(shape), targets, loss, view)
    assert_is_the_loss(module, ignore_index=ignore_index)


@pytest.mark.parametrize("name", SHAPES)
def test_positions_of_samples_that_lack_a_modality(name):
    shape, view, classes_second = SHAPES[name]

    def loss(logits, target):
        return F.cross_entropy(classes_second(logits), target)

    module = Task(3 * math.prod(shape), classes(*shape), loss, view)
    has = torch.arange(SAMPLES) % 3 > 0
    callback = always(present=lambda batch: {"audio": has})
    fit(module, callback)
    for batch in module.batches:
        batch.update({key: value[has] for key, value in batch.items()})
    assert callback.history[0]["score"]["audio"] == pytest.approx(module.reference("audio"))


BINARY = {
    "(B,) of (B, 1)": ((), 1, lambda z: z, lambda logits: logits[:, 0]),
    "(B, 1)": ((1,), 1, lambda z: z, lambda logits: logits),
    "(B,) of (B,)": ((), 1, lambda z: z[:, 0], lambda logits: logits),
    "(B, L)": ((4,), 4, lambda z: z, lambda logits: logits),
}


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", BINARY)
def test_binary_and_multi_label(name, dtype):
    shape, outputs, view, like_target = BINARY[name]
    targets = [target.to(dtype) for target in classes(*shape, count=2)]

    def loss(logits, target):
        return F.binary_cross_entropy_with_logits(like_target(logits), target.double())

    heads = [Task] if name == "(B,) of (B,)" else [Task, Plain]
    for head in heads:
        arguments = (outputs, targets, loss) + ((view,) if head is Task else ())
        assert_is_the_loss(head(*arguments), score="bce")


@pytest.mark.parametrize("value", [-1.0, -100.0, math.nan])
def test_labels_that_count_nowhere(value):
    targets = masked([target.double() for target in classes(4, count=2)], value)

    def loss(logits, target):
        counted = ~target.isnan() & (target >= 0)
        return F.binary_cross_entropy_with_logits(logits[counted], target[counted])

    assert_is_the_loss(Plain(4, targets, loss), score="bce", ignore_index=value)


REGRESSION = {
    "(B,) of (B, 1)": ((), 1, lambda logits: logits[:, 0]),
    "(B, 1)": ((1,), 1, lambda logits: logits),
    "(B, D)": ((3,), 3, lambda logits: logits),
}


@pytest.mark.parametrize("head", [Plain, Task])
@pytest.mark.parametrize("name", REGRESSION)
def test_regression(name, head):
    shape, outputs, like_target = REGRESSION[name]
    module = head(outputs, normal(*shape), lambda z, target: F.mse_loss(like_target(z), target))
    assert_is_the_loss(module, score="mse")


def ordinal_loss(logits, target):
    above = torch.stack([target > level for level in range(logits.shape[1])], dim=1)
    counted = target != -1
    return F.binary_cross_entropy_with_logits(logits[counted], above[counted].to(logits))


@pytest.mark.parametrize("head", [Plain, Task])
def test_classes_in_order(head):
    targets = masked(classes(count=4), -1)
    assert_is_the_loss(head(3, targets, ordinal_loss), score="ordinal", ignore_index=-1)


def test_answers_that_count_nowhere():
    targets = masked(normal(3), math.nan)

    def loss(logits, target):
        return F.mse_loss(logits[~target.isnan()], target[~target.isnan()])

    assert_is_the_loss(Plain(3, targets, loss), score="mse", ignore_index=math.nan)


def indices(*values):
    return torch.tensor(values).repeat(SAMPLES)[:SAMPLES]


@pytest.mark.parametrize(
    ("target", "settings", "message"),
    [
        (indices(0, 40), {}, r"`target=` leads to a tensor of shape \(8,\) that holds 40"),
        (indices(0, -1), {}, r"`target=` leads to a tensor of shape \(8,\) that holds -1"),
        (indices(0, 255), {"ignore_index": -1}, "that holds 255, but there are logits of 3"),
        (indices(0.0, 1.0), {}, r"the logits of audio .* `target=`"),
        (torch.zeros(4, dtype=torch.long), {}, r"the logits of audio .* `target=`"),
        (torch.zeros(8, 4), {}, r"the logits of audio .* `target=`"),
        (torch.ones(8, 3), {}, "`target=` leads to .* no probabilities of the classes"),
        (torch.ones(8, 3, dtype=torch.long), {}, "For several labels per sample pass score='bce'"),
        (torch.full((8, 3), 2.0), {"score": "bce"}, "that holds 2, but there are answers from 0"),
        (torch.zeros(8, 4), {"score": "bce"}, "needs both of the same shape. Check `target=`"),
        (torch.zeros(8, 4), {"score": "mse"}, "needs both of the same shape. Check `target=`"),
        (indices(0, 4), {"score": "ordinal"}, "that holds 4, but there are 3 logits, of 4 classes"),
        (indices(0.0, 1.0), {"score": "ordinal"}, r"one logit for each level, \(B, C - 1\), and"),
    ],
)
def test_a_wrong_target_is_one_clear_error_in_the_first_batch(target, settings, message):
    class Elsewhere(Late):
        steps = 0

        def on_before_optimizer_step(self, optimizer):
            Elsewhere.steps += 1

    batches = make_batches()
    for batch in batches:
        batch["other"] = target
    with pytest.raises(ValueError, match=message):
        fit(Elsewhere(batches=batches), always(target="other", **settings))
    assert Elsewhere.steps == 0


def test_a_binary_head_without_its_score_is_told_which():
    targets = [target.double() for target in classes(count=2)]

    def loss(logits, target):
        return F.binary_cross_entropy_with_logits(logits[:, 0], target)

    with pytest.raises(ValueError, match="pass score='bce' for one logit per answer"):
        fit(Plain(1, targets, loss), always())


def test_sample_indices_that_begin_in_range_are_said_to_be_a_wrong_target():
    batches = make_batches(batches=3, size=2)
    for number, batch in enumerate(batches):
        batch["index"] = torch.arange(2 * number, 2 * number + 2)
    with pytest.warns(UserWarning, match="does `target=` lead to the classes"):
        fit(Late(batches=batches), always(target="index"), max_epochs=1)
