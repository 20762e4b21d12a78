"""Rows of the claims' tables as ``claims.json`` keeps them, of noise."""

import numpy as np

from running.claims.rows import ROWS, VIEWS

SEEDS = range(10)


def rows_of_noise():
    """Rows of equal numbers but for noise: nothing of the paper holds of them."""
    generator = np.random.default_rng(0)

    def row(name):
        views = "views" in name
        probes = [f"probe_{m}" for m in (VIEWS if views else ("audio", "image"))]
        noise = {q: 0.6 + generator.normal(0, 0.01, 10) for q in ["accuracy", *probes]}
        quantities = [f"{q}_{m}" for q in ("share", "agreement", "trace", "held", "cosine")
                      for m in ("audio", "image")]  # fmt: skip
        measured = {q: 0.5 + generator.normal(0, 0.01, 10) for q in quantities}
        measured |= {
            f"cosine_{m}_{t}": np.full(10, 0.5) for m in ("audio", "image") for t in (0, 1)
        }
        listed = [{q: of.tolist() for q, of in found.items()} for found in (noise, measured)]
        title = ROWS[name].title if name in ROWS else name
        return {"title": title, "setting": [], "seeds": [*SEEDS]} | dict(
            zip(("test", "measured"), listed, strict=True)
        )

    ensembles = [f"ensemble{a}{b}" for a in ("", "_fitted") for b in ("", "_views")]
    return {"rows": {name: row(name) for name in [*ROWS, *ensembles]}}


def lift(kept, row, by, quantity="accuracy"):
    """Raise a quantity of a row."""
    for part in ("test", "measured"):
        of = kept["rows"][row][part]
        if quantity in of:
            of[quantity] = [value + by for value in of[quantity]]
