"""LightningCLI: from arguments and from a file."""

import pytest
from lightning.pytorch.cli import LightningCLI

from helpers.modules import Late
from inforeg_lightning import InfoRegCallback

pytest.importorskip("jsonargparse")

TRAINER = [
    "--trainer.accelerator=cpu", "--trainer.devices=1", "--trainer.max_epochs=2",
    "--trainer.logger=false", "--trainer.enable_checkpointing=false",
    "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false",
]  # fmt: skip
ENCODERS = "{audio: audio_encoder, video: [video_encoder.0, video_encoder.2]}"


class Small(Late):
    """One that a parser can build."""

    def __init__(self, lr: float = 0.1) -> None:
        super().__init__(lr=lr)


@pytest.fixture(autouse=True)
def _parser(monkeypatch):
    monkeypatch.setattr("sys.argv", ["pytest"])
    # Lightning calls the parser in a way that newer parsers deprecate.
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")


def run(tmp_path, arguments) -> InfoRegCallback:
    cli = LightningCLI(
        Small,
        args=["fit", *TRAINER, f"--trainer.default_root_dir={tmp_path}", *arguments],
        save_config_callback=None,
        seed_everything_default=0,
    )
    (callback,) = [c for c in cli.trainer.callbacks if isinstance(c, InfoRegCallback)]
    assert len(callback.history) > 0
    return callback


@pytest.mark.parametrize(
    ("more", "in_window"),
    [
        ([], [False, False]),
        (["--trainer.callbacks.window=always"], [True, True]),
        (["--trainer.callbacks.window=[0, 1]"], [True, False]),
        (
            [
                "--trainer.callbacks.window="
                "{class_path: inforeg_lightning.core.window.RangeWindow, init_args: {start: 1}}"
            ],
            [False, True],
        ),
        (["--trainer.callbacks.window=[0, 1]", "--trainer.callbacks.period=4"], [True, False]),
    ],
)
def test_the_callback_is_built_from_arguments(tmp_path, more, in_window):
    callback = run(
        tmp_path,
        [
            "--trainer.callbacks+=inforeg_lightning.InfoRegCallback",
            f"--trainer.callbacks.encoders={ENCODERS}",
            "--trainer.callbacks.head=head",
            "--trainer.callbacks.beta=0.5",
            "--trainer.callbacks.target=label",
            *more,
        ],
    )
    assert [entry["in_window"]["audio"] for entry in callback.history] == in_window


def test_the_callback_is_built_from_a_file(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text(
        f"""
trainer:
  callbacks:
    - class_path: inforeg_lightning.InfoRegCallback
      init_args:
        encoders: {ENCODERS}
        head: head
        period: 2
        window: [1, 3]
        score: prob
"""
    )
    callback = run(tmp_path, [f"--config={config}"])
    assert callback.period == 2
    assert [entry["in_window"]["video"] for entry in callback.history] == [False, True, True, False]
