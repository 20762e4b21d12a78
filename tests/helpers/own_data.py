"""A tiny tree of somebody's own data: a table, pictures and an array."""

import csv

import numpy as np
from PIL import Image

MODALITIES = {
    "picture": {"images": "pictures", "column": "picture", "size": [8, 8]},
    "record": {"columns": ["width", "height"]},
    "sound": {"array": "sound.npy"},
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
    np.save(root / "sound.npy", draw.normal(size=(samples, 2, 5)).astype(np.float32))
    write_table(root, table)
    return table
