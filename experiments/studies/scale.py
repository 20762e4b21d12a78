"""Two to twelve modalities: joint training, InfoReg, and three gaps; its protocol is in evidence/.

A file that is there is gone on with.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from running.study import Study

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "experiments" / "results" / "scale.json"
PICTURE = ROOT / "docs" / "assets" / "scale.png"
_KEEP_EVERY = 5
"""After so many tasks what was found is kept."""


def carry_out(arguments: Any) -> int:
    """Train what is missing, measure the price, print the tables and draw the picture.

    Args:
        arguments: Of the command line: ``data.root=`` the folder of UCI's views, without which the
            generated family alone is trained; ``--seeds``; ``--workers`` tasks side by side;
            ``--out`` another file, beside which the picture goes.
    """
    from running.kept import KeptError, read, write
    from running.scale.families import Generated, SixViews
    from running.scale.tables import draw, scale_tables

    families: list[Any] = [Generated()]
    for override in arguments.overrides:
        if not override.startswith("data.root="):
            print(f"{override}: this study takes data.root=FOLDER alone", file=sys.stderr)
            return 1
        families.append(SixViews(Path(override.removeprefix("data.root="))))
    if len(families) == 1:
        print("without data.root=FOLDER, UCI's six views are left out", file=sys.stderr)
    place = arguments.out or RESULTS
    try:
        content = read(place)
    except KeptError as error:
        print(error, file=sys.stderr)
        return 1
    seeds = STUDY.seeds if arguments.seeds is None else tuple(arguments.seeds)
    try:
        for found in _completed(content, families, seeds, arguments.workers or 1):
            write(place, found)
            content = found
    except (FileNotFoundError, RuntimeError) as error:  # of the views
        print(error, file=sys.stderr)
        return 1
    print(scale_tables(content))
    draw(content, PICTURE if arguments.out is None else place.with_suffix(".png"))
    return 0


def _completed(
    content: dict[str, Any], families: list[Any], seeds: tuple[int, ...], workers: int
) -> Iterator[dict[str, Any]]:
    """Seed by seed, so that an early end leaves whole comparisons."""
    from joblib import Parallel, delayed
    from tqdm import tqdm

    from running.scale.tables import cell_name
    from running.scale.training import ALONE, price, train_cell

    cells: dict[str, Any] = dict(content.get("cells", {}))
    prices: dict[str, Any] = dict(content.get("prices", {}))
    described = dict(content.get("families", {}))
    for family in families:
        described[family.name] = {"sizes": [*family.sizes]}
        if hasattr(family, "bayes"):
            known = {str(M): round(family.bayes(family.chosen(M, 0)), 4) for M in family.sizes}
            described[family.name]["bayes"] = known
    kept = {"families": described, "seeds": [*seeds], "prices": prices, "cells": cells}
    missing = [
        (family, size, seed)
        for seed in seeds
        for family in families
        for size in (ALONE, *family.sizes)
        if cell_name(family.name, size, seed) not in cells
    ]
    work = Parallel(n_jobs=workers, return_as="generator")(
        delayed(train_cell)(*task) for task in missing
    )
    bar = tqdm(zip(missing, work, strict=True), total=len(missing), disable=not missing)
    for number, ((family, size, seed), found) in enumerate(bar):
        cells[cell_name(family.name, size, seed)] = found
        if number % _KEEP_EVERY == _KEEP_EVERY - 1:
            yield kept
    yield kept
    for family in families:
        if family.name not in prices:
            prices[family.name] = {str(size): price(family, size) for size in family.sizes}
    yield kept


STUDY = Study(
    "two to twelve modalities: accuracy, imbalance and price of joint training and InfoReg's gaps",
    methods=(),
    seeds=tuple(range(10)),
    carry_out=carry_out,
)
