"""The error that a program shows as one sentence."""

from hydra.errors import CompactHydraException


class RecipeError(CompactHydraException):
    """A configuration that cannot run; Hydra shows its message without a traceback."""
