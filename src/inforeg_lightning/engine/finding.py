"""Finds encoders and head in a model, and watches them until others stand in their place."""

from collections.abc import Mapping, Sequence

from torch import nn

from inforeg_lightning.engine.checks import check_encoders, check_parameters, resolve
from inforeg_lightning.engine.probe.probe import Edit, Replace, UnimodalProbe


class Finder:
    """The modules that attribute paths lead to.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder in the model.
        head: Attribute path of the fusion head, or ``None``.

    Attributes:
        paths: Modality -> its paths.
        head_path: As given.
        modules: Modality -> its modules; empty before any were found.
        probe: Watches them; ``None`` before, and without a head.
    """

    def __init__(self, encoders: Mapping[str, str | Sequence[str]], head: str | None) -> None:
        self.paths = check_encoders(encoders)
        if head is not None and not isinstance(head, str):
            raise TypeError(
                "`head` must be an attribute path or None, but is of type "
                f"{type(head).__name__}: write where it stands in the model, as in head='head'"
            )
        self.head_path = head
        self.modules: dict[str, list[nn.Module]] = {}
        self.probe: UnimodalProbe | None = None

    def look(self, model: nn.Module) -> tuple[dict[str, list[nn.Module]], nn.Module | None]:
        """The modules of each modality, and the head; nothing is watched.

        Raises:
            ValueError: A path leads nowhere.
        """
        modules = {
            modality: [resolve(model, path, f"encoders[{modality!r}]") for path in paths]
            for modality, paths in self.paths.items()
        }
        head = None if self.head_path is None else resolve(model, self.head_path, "head")
        return modules, head

    def find(
        self,
        model: nn.Module,
        will_unfreeze: bool,
        edit: Edit | None,
        replace: Replace | None = None,
    ) -> bool:
        """Find the modules in a model, and watch them unless these very ones are watched.

        Args:
            model: That the paths lead into.
            will_unfreeze: Whether frozen encoders are unfrozen during training.
            edit: Edits what the head returns, where a method does.
            replace: Replaces what the head sees, where a method does.

        Returns:
            Whether anything was found that was not there before.

        Raises:
            ValueError: A path leads nowhere, or the modules do not fit.
        """
        modules, head = self.look(model)
        if self.probe is not None and head is not None and self.probe.watches(modules, head):
            return False
        if head is None and modules == self.modules:
            return False
        check_parameters(modules, head, will_unfreeze)
        self.close()
        self.modules = modules
        if head is not None:
            self.probe = UnimodalProbe(modules, head, edit, replace)
        return True

    def close(self) -> None:
        """Remove the hooks, and let go of the modules."""
        if self.probe is not None:
            self.probe.close()
        self.probe = None
        self.modules = {}
