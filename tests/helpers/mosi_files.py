"""Small CMU-MOSI in the true formats: the pickles of MultiBench and of MMSA."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np

WIDTHS = {"text": 300, "audio": 5, "vision": 20}
SIZES = {"train": 12, "valid": 8, "test": 8}


def multibench(frames: int = 6) -> dict[str, dict[str, Any]]:
    """What is in ``mosi_data.pkl``: padding in front, labels (N, 1, 1), an -inf in the audio."""
    draw = np.random.default_rng(0)
    content = {}
    for split, size in SIZES.items():
        # Multiples of 0.2 from -3 to 3, with a 0 in every split.
        labels = np.linspace(-15, 15, size).round() / 5
        labels[0] = 0
        lengths = draw.integers(2, frames + 1, size)
        real = np.arange(frames) >= frames - lengths[:, None]
        part: dict[str, Any] = {}
        for modality, width in WIDTHS.items():
            values = draw.standard_normal((size, frames, width)) + labels[:, None, None]
            part[modality] = (values * real[..., None]).astype(np.float32)
        part["audio"][0, -1, 0] = -np.inf
        part["labels"] = labels.reshape(size, 1, 1).astype(np.float32)
        part["id"] = np.array([f"{split}_{row}" for row in range(size)], dtype=object)
        content[split] = part
    return content


def mmsa(frames: int = 6) -> dict[str, dict[str, Any]]:
    """What is in ``aligned_50.pkl``: padding behind, BERT's mask, features beyond it."""
    content = {}
    for split, part in multibench(frames).items():
        moved = {m: part[m][:, ::-1].copy() for m in WIDTHS}
        mask = (moved["text"] != 0).any(axis=2)
        moved["text"][~mask] = 0.5
        size = len(mask)
        labels = part["labels"].reshape(size)
        content[split] = moved | {
            "raw_text": np.array(["a sentence"] * size),
            "id": [f"{split}$_${row}" for row in range(size)],
            "text_bert": np.stack([mask * 100, mask, mask * 0], axis=1).astype(np.float64),
            "annotations": np.array(["Neutral"] * size),
            "classification_labels": np.sign(labels) + 1,
            "regression_labels": labels,
        }
    return content


def write_mosi(root: Path, content: Any = None, name: str = "mosi_data.pkl", protocol: int = 4):
    """Write a pickle of MultiBench's form, or what is given."""
    root.mkdir(parents=True, exist_ok=True)
    whole = multibench() if content is None else content
    (root / name).write_bytes(pickle.dumps(whole, protocol))


def write_utterances(root: Path, lacking: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """Write ``label.csv`` and a CSV file per utterance and modality, each of its own length.

    Args:
        root: The folder.
        lacking: Files that are left out, as ``"audio/v0_1"``.

    Returns:
        The rows of the table.
    """
    draw, rows = np.random.default_rng(0), []
    for split, size in SIZES.items():
        for number, label in enumerate((np.linspace(-15, 15, size).round() / 5).tolist()):
            video = f"{split}{number // 3}"
            rows.append({"video_id": video, "clip_id": number, "label": label, "mode": split})
            for modality, width in WIDTHS.items():
                if f"{modality}/{video}_{number}" in lacking:
                    continue
                values = draw.standard_normal((int(draw.integers(2, 7)), width)) + label
                # As tools write them: one with a header, one with a folder per video.
                folder = root / modality / (video if modality == "vision" else "")
                folder.mkdir(parents=True, exist_ok=True)
                name = f"{number}.csv" if modality == "vision" else f"{video}_{number}.csv"
                lines = [",".join(f"{x:.4f}" for x in frame) for frame in values]
                head = [",".join(f"f{i}" for i in range(width))] if modality == "audio" else []
                (folder / name).write_text("\n".join([*head, *lines]) + "\n")
    lines = [",".join(map(str, row.values())) for row in rows]
    (root / "label.csv").write_text("\n".join(["video_id,clip_id,label,mode", *lines]) + "\n")
    return rows
