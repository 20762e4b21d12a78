"""Small Hateful Memes in the true form: JSON lines, and pictures beside them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZES = {"train": 12, "dev_seen": 6, "test_seen": 6}


def write_memes(root: Path, sizes: dict[str, int] = SIZES) -> dict[str, list[dict[str, Any]]]:
    """Write memes whose colour and words tell the class, and return their lines."""
    draw = np.random.default_rng(0)
    (root / "img").mkdir(parents=True)
    lines: dict[str, list[dict[str, Any]]] = {}
    number = 1000
    for name, size in sizes.items():
        lines[name] = []
        for i in range(size):
            number, label = number + 1, i % 2
            pixels = draw.integers(0, 120, (20, 30, 3)) + np.array([0, 120 * label, 0])
            picture = f"img/{number:05d}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(root / picture)
            words = ("its", "a", ("kind", "cruel")[label], "word,", f"n{number}")
            line = {"id": number, "img": picture, "label": label, "text": " ".join(words)}
            lines[name].append(line)
        write_lines(root / f"{name}.jsonl", lines[name])
    return lines


def write_lines(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8")
