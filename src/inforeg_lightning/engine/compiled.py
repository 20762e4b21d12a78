"""What torch has compiled before there were hooks."""

import sys

import torch


def forget_compiled() -> None:
    """Have compiled code be compiled again, at its next call, with the hooks that are there then.

    Compiled code is not compiled again because a hook was registered (torch guards it against much,
    but not against that, by ``torch._dynamo.config.skip_nnmodule_hook_guards``): of a module that
    was trained, then given a method and trained further, no hook would be called. A step may be
    compiled that no module tells of, so that all is forgotten.
    """
    if "torch._dynamo" in sys.modules:  # else nothing was compiled, and it takes a second to import
        torch.compiler.reset()
