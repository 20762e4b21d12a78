"""A tiny tree of somebody's own data: a table with captions, pictures, sounds and an array."""

import csv

import numpy as np
from PIL import Image

from helpers.digit_files import write_wav

MODALITIES = {
    "picture": {"images": "pictures", "column": "picture", "size": [8, 8]},
    "record": {"columns": ["width", "height"]},
    "sound": {"array": "sound.npy"},
}
EVERY_KIND = MODALITIES | {
    "voice": {"sounds": "clips", "column": "clip", "seconds": 0.5},
    "caption": {"text": "caption", "words": 6, "vocabulary": 12},
}
CLASSES = ("cat", "dog", "owl")


def rows(samples=30):
    draw = np.random.default_rng(0)
    for i in range(samples):
        width, height = draw.normal(i % 3, 1, 2)
        yield {
            "name": f"s{i}",
            "picture": f"p{i}.png",
            "width": f"{width:.3f}",
            "height": f"{height:.3f}",
            "clip": f"c{i}.wav",
            "caption": f"The {('striped', 'loyal', 'wise')[i % 3]} one, {i}!",
            "weight": f"{i % 3 + 0.1 * draw.normal():.3f}",
            "label": CLASSES[i % 3],
            "person": f"person {i // 5}",
            "part": ("train", "train", "train", "val", "test")[i // 3 % 5],
        }


def write_table(root, table):
    with (root / "samples.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [*table[0]])
        writer.writeheader()
        writer.writerows(table)


def write_own_data(root, samples=30):
    """Write the tree, and return the rows of its table."""
    table = [*rows(samples)]
    (root / "pictures").mkdir(parents=True)
    draw = np.random.default_rng(1)
    for i, row in enumerate(table):
        pixels = draw.integers(0, 80, (9, 10, 3)) + 80 * np.eye(3, dtype=int)[i % 3]
        Image.fromarray(pixels.astype(np.uint8)).save(root / "pictures" / row["picture"])
    time = np.arange(2400) / 8000
    for i, row in enumerate(table):
        tone = 0.3 * np.sin(2 * np.pi * (300 + 400 * (i % 3)) * time)
        write_wav(root / "clips" / row["clip"], tone)
    np.save(root / "sound.npy", draw.normal(size=(samples, 2, 5)).astype(np.float32))
    write_table(root, table)
    return table
