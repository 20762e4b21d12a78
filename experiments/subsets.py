"""Evaluate finished runs with modalities missing: a table of accuracy by subset of modalities.

Examples, from the repository's root::

    python experiments/subsets.py runs/av_digits
    python experiments/subsets.py runs/av_digits/none runs/av_digits/inforeg --split val

The features of a missing modality are zero before the head. Intervals (95 %) are over samples and
seeds; nothing is trained or written.
"""

import argparse
import sys
from pathlib import Path

from running.errors import RecipeError


def main() -> int:
    """Print the table that the command line asks for; 1 where there is none."""
    arguments = _arguments()
    # Here: it takes torch with it, seconds that --help should not cost.
    from running.missing import load, subsets_table

    try:
        print(subsets_table(load(arguments.runs), arguments.checkpoint, arguments.split))
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders to search for run folders")
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last")
    parser.add_argument("--split", choices=("test", "val"), default="test")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
