"""The hook that methods put on modules: of the module alone, and of no copy of it."""

import copy
import gc
import pickle
import weakref

import torch
from torch import nn

from inforeg_lightning.methods._hook import Hook


class Watcher:
    def __init__(self):
        self.seen = []

    def see(self, key, module, args, kwargs, output):
        self.seen.append((key, module, args, kwargs))
        return output + 1


def hooked():
    watcher, module = Watcher(), nn.Linear(2, 3)
    module.register_forward_hook(Hook(watcher.see, "audio"), with_kwargs=True)
    return watcher, module


def test_it_sees_a_call_and_may_replace_what_is_returned():
    watcher, module = hooked()
    x = torch.randn(4, 2)
    torch.testing.assert_close(module(x), nn.functional.linear(x, module.weight, module.bias) + 1)
    ((key, seen, args, kwargs),) = watcher.seen
    assert (key, seen, kwargs) == ("audio", module, {})
    assert args[0] is x


def test_copied_and_pickled_modules_forget_it():
    watcher, module = hooked()
    x = torch.randn(4, 2)
    plain = nn.functional.linear(x, module.weight, module.bias)
    for made in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(made(x), plain)
    assert watcher.seen == []


def test_it_does_not_keep_its_owner():
    watcher, module = hooked()
    gone = weakref.ref(watcher)
    del watcher
    gc.collect()
    assert gone() is None
    x = torch.randn(4, 2)
    torch.testing.assert_close(module(x), nn.functional.linear(x, module.weight, module.bias))
