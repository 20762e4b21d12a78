import json

import pytest


def history(modalities, epochs, window):
    return [
        {
            "period": t,
            "epoch": t,
            "step": 4 * (t + 1),
            "trace": dict.fromkeys(modalities, 1.0 / (t + 1)),
            "change": dict.fromkeys(modalities, None if t == 0 else -1.0 / t),
            "in_window": dict.fromkeys(modalities, t in window),
            "score": dict.fromkeys(modalities, -2.0 + 0.1 * t),
            "gap": dict.fromkeys(modalities, 0.1),
            "alpha": dict.fromkeys(modalities, 1.5 if t in window else 0.0),
            "pull": dict.fromkeys(modalities),
            "penalty": dict.fromkeys(modalities, 0.0),
        }
        for t in range(epochs)
    ]


def result(method, seed, accuracy, **changes):
    part = {
        "epoch": 2,
        "val": {"accuracy": accuracy},
        "test": {"accuracy": accuracy, "accuracy_audio": 0.3, "accuracy_image": 0.4},
        "probe": {"audio": 0.5, "image": 0.6},
    }
    return {
        "experiment": "toy",
        "method": method,
        "variant": "",
        "title": {"none": "Joint training"}.get(method, method),
        "seed": seed,
        "modalities": ["audio", "image"],
        "epochs": 3,
        "seconds": {"total": 1.0},
        "config": {"data": {"seed": seed}, "model": {"lr": 0.1}},
        "last": part,
        "best": part,
    } | changes


@pytest.fixture
def write_run(tmp_path):
    """Write a run folder below ``tmp_path / "runs"`` as train.py does; return the folder."""

    def write(method, seed, accuracy, **changes):
        folder = tmp_path / "runs" / method / changes.get("variant", "") / f"seed={seed}"
        folder.mkdir(parents=True)
        content = result(method, seed, accuracy, **changes)
        (folder / "config.yaml").write_text("seed: 0\n")
        (folder / "result.json").write_text(json.dumps(content))
        window = () if method == "none" else (1,)
        (folder / "history.json").write_text(json.dumps(history(["audio", "image"], 3, window)))
        lines = ["epoch,step,train/loss,val/accuracy,val/accuracy_audio,val/accuracy_image"]
        for epoch in range(3):
            lines += [f"{epoch},3,,{accuracy},0.3,0.4", f"{epoch},3,0.9,,,"]
        (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
        return folder

    return write


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"
