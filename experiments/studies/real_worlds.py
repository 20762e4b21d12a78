"""Worlds of real data: how often a diagnosis and a monitor's suspicions are right there.

AV-Digits and scikit-learn's digits come with packages; AV-MNIST and Multiple Features are read
from folders that the command line names. The protocol is ``experiments/evidence/real_worlds.md``;
results are kept in ``experiments/results/real_worlds.json``, and go on from there.
"""

import sys
from pathlib import Path
from typing import Any

from running.study import Study

RESULTS = Path(__file__).resolve().parents[1] / "results" / "real_worlds.json"


def carry_out(arguments: Any) -> int:
    """Measure what is missing, judge, and print the confusion matrices.

    Args:
        arguments: Of the command line; ``--out`` names another file, which begins empty;
            ``--workers`` is how many worlds are measured side by side; overrides are
            ``av_mnist=FOLDER`` and ``multiple_features=FOLDER``.
    """
    from running.kept import KeptError, read, write
    from running.truth.judging import described
    from running.truth.judging_real import complete
    from running.truth.real_data import IN_FOLDERS, check

    folders = {}
    for override in arguments.overrides:
        word, _, folder = override.partition("=")
        if word not in IN_FOLDERS.values() or not Path(folder).is_dir():
            asked = " and ".join(f"{of}=FOLDER" for of in IN_FOLDERS.values())
            print(f"{override}: this study takes {asked}, of folders that exist", file=sys.stderr)
            return 1
        folders[word] = Path(folder)
    place = arguments.out or RESULTS
    try:
        content = read(place)
        for data, word in IN_FOLDERS.items():
            if word in folders:
                check(data, str(folders[word]))
    except (KeptError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    try:
        for found in complete(content, folders, arguments.workers or 1):
            write(place, found)
            content = found
    except (FileNotFoundError, RuntimeError) as error:  # a folder without the set
        print(error, file=sys.stderr)
        return 1
    print(described(content))
    return 0


STUDY = Study(
    "worlds of real data, never tuned on (av_mnist=FOLDER multiple_features=FOLDER)",
    methods=(),
    seeds=(0, 1, 2, 3, 4),
    carry_out=carry_out,
)
