"""What a training step reads from the device, or copies there.

On a CPU nothing waits, so the operations that would make the host wait are counted instead.
"""

import lightning.pytorch as L
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from helpers.modules import CLASSES, Late, give_validation
from helpers.trainers import quiet_trainer

EPOCHS, BATCHES = 3, 4
READING_OPERATORS = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
}
# These reach no operator on a CPU, and would be copies on any other device.
COPYING_FUNCTIONS = {
    torch.Tensor.tolist,
    torch.Tensor.numpy,
    torch.Tensor.cpu,
    torch.Tensor.new_tensor,
    torch.tensor,
    torch.as_tensor,
}


class Operators(TorchDispatchMode):
    """Sees operators, those of the backward pass too."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in READING_OPERATORS:
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


class Functions(TorchFunctionMode):
    """Sees functions and methods, before they come down to operators."""

    def __init__(self, found):
        super().__init__()
        self.found = found

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in COPYING_FUNCTIONS:
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Counter:
    """Two callbacks, to stand first and last: what happens between them in each step is counted."""

    def __init__(self):
        self.steps = []
        counter = self

        class First(L.Callback):
            def on_train_batch_start(self, *args):
                found = []
                counter.steps.append(found)
                counter.modes = [Operators(found), Functions(found)]
                for mode in counter.modes:
                    mode.__enter__()

        class Last(L.Callback):
            def on_train_batch_end(self, *args):
                for mode in reversed(counter.modes):
                    mode.__exit__(None, None, None)

        self.first, self.last = First(), Last()


class Deep(Late):
    """A head that is not linear: it runs once more for each modality."""

    def make_head(self, width):
        return nn.Sequential(nn.Linear(width, 8), nn.ReLU(), nn.Dropout(), nn.Linear(8, CLASSES))


def reads(module, *callbacks, **settings):
    """What each step of a training reads, but the very first: there the head's inputs are told."""
    counter = Counter()
    every = [counter.first, *callbacks, counter.last]
    give_validation(module, callbacks)
    quiet_trainer(callbacks=every, max_epochs=EPOCHS, **settings).fit(module)
    assert len(counter.steps) == EPOCHS * BATCHES
    return counter.steps[1:]


NOTHING = [[]] * (EPOCHS * BATCHES - 1)
