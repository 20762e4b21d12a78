"""A Trainer that writes nothing and says nothing."""

from pathlib import Path
from typing import Any

import lightning.pytorch as L


def quiet_trainer(tmp_path: Path | None = None, **settings: Any) -> L.Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": tmp_path,
    }
    return L.Trainer(**defaults | settings)
