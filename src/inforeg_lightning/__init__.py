"""InfoReg for PyTorch Lightning and any other loop: keep the easiest modality from starving others.

Importing this package needs torch alone. A callback imports Lightning when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inforeg_lightning.callbacks import AutoBalanceCallback, InfoRegCallback
    from inforeg_lightning.engine.regulator import Regulator
    from inforeg_lightning.engine.reporting import report_unimodal

__all__ = ["AutoBalanceCallback", "InfoRegCallback", "Regulator", "report_unimodal"]

_HOMES = {
    "AutoBalanceCallback": "inforeg_lightning.callbacks",
    "InfoRegCallback": "inforeg_lightning.callbacks",
    "Regulator": "inforeg_lightning.engine.regulator",
    "report_unimodal": "inforeg_lightning.engine.reporting",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name == "__version__":
        from importlib.metadata import version

        return version("inforeg-lightning")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, whether imported yet or not."""
    return sorted([*globals(), *__all__, "__version__"])
