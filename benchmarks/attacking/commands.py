"""Wrong command lines: one sentence, a code that is not 0, and nothing left behind.

A few harmless ones are among them, which must do what they say.
"""

import os
import shutil
from pathlib import Path

from attacking import programs
from attacking.damage import Rng
from attacking.samples import Samples
from attacking.tally import Tally

DEFAULT = 200
_MOST_LINES = 40  # argparse shows its usage, Hydra where a key was not found

_WRONG = Path(__file__).with_name("wrong_commands.txt")
_HARMLESS = (
    "train.py --help",
    "prepare.py --help",
    "shard.py --help",
    "report.py --help",
    "study.py --help",
    "train.py --cfg job",
    "train.py experiment=synthetic --cfg job",
    "report.py {runs} --baseline nope --out x",
    "report.py {runs} --sweep nope --out x",
)


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Give ``count`` wrong commands: each of the list once, then two mistakes of it at a time."""
    programs.warm()
    every = [
        line.partition(" ")[::2]
        for line in _WRONG.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    order = rng.permutation(len(every)).tolist()
    for number in range(count):
        name, words = every[order[number % len(every)]]
        if number >= len(every):
            others = [more for program, more in every if program == name and more]
            words += " " + str(rng.choice(others))
        _give(name, _with(name, words), samples, work / f"command{number}", tally)
    for number, command in enumerate(_HARMLESS[: max(count // 10, 1)]):
        name, _, words = command.partition(" ")
        _give(name, words, samples, work / f"harmless{number}", tally, harmless=True)
    _rerun(samples, work / "rerun", tally)


def _with(name: str, words: str) -> str:
    """A wrong command with what it needs beside the mistake."""
    if name == "train.py":
        return f"experiment=synthetic runs=runs {words}"
    # What has nothing to do with places needs them; the others are about places.
    if name == "prepare.py" and words and "data.root" not in words and "data=" not in words:
        store = "" if "data.store" in words else " data.store=st"
        return f"data=cremad data.root={{raw}}{store} {words}"
    return words


def _give(
    name: str, words: str, samples: Samples, cwd: Path, tally: Tally, harmless: bool = False
) -> None:
    places = {"store": samples.store, "shards": samples.shards, "runs": samples.runs,
              "raw": samples.cremad}  # fmt: skip
    arguments = words.split(" ") if words else []
    for place, path in places.items():
        arguments = [word.replace(f"{{{place}}}", str(path)) for word in arguments]
    before = _everything(samples.folder)
    ended = programs.run(name, *filter(None, arguments), cwd=cwd)
    what = f"{name} {words}: code {ended.code}: {ended.said[-600:]}"
    left = [] if harmless or ended.code == 0 else sorted(map(str, cwd.rglob("*")))
    if ended.traced:
        tally.add("traceback", what)
    elif ended.code is None:
        tally.add("wrong", f"{what}: it did not end")
    elif _everything(samples.folder) != before:
        tally.add("lost", f"{what}: it changed what it was pointed at")
    elif (ended.code == 0) != harmless and not (ended.code == 0 and _harmless(words)):
        tally.add("wrong", f"{what}: expected {'0' if harmless else 'a refusal'}")
    elif left:
        tally.add("wrong", f"{what}: left behind {left[:5]}")
    elif not harmless and not 0 < ended.said.strip().count("\n") + 1 <= _MOST_LINES:
        tally.add("wrong", f"{what}: {ended.said.count(chr(10))} lines instead of a sentence")
    else:
        tally.add("survived" if ended.code == 0 else "refused", what)
    shutil.rmtree(cwd, ignore_errors=True)


def _harmless(words: str) -> bool:
    """Of the wrong ones, those that may as well be carried out: a run that diverges says so."""
    return "lr=nan" in words or "--sweep nope" in words or "--baseline nope" in words


def _everything(folder: Path) -> set[tuple[str, int]]:
    found = set()
    for root, _, files in os.walk(folder):
        found |= {(f"{root}/{file}", os.lstat(f"{root}/{file}").st_mtime_ns) for file in files}
    return found


def _rerun(samples: Samples, cwd: Path, tally: Tally) -> None:
    """A finished run stays where `rerun` says no, in whatever words."""
    command = ("train.py", "experiment=synthetic", "runs=runs", "trainer.max_epochs=1")
    programs.run(*command, cwd=cwd)
    (result,) = cwd.rglob("result.json")
    for word in ("no", "off", '"false"', "False", "0", "n", "null"):
        before = result.stat().st_mtime_ns
        ended = programs.run(*command, f"rerun={word}", cwd=cwd)
        same = result.exists() and result.stat().st_mtime_ns == before
        outcome = "lost" if not same else "survived" if ended.code == 0 else "refused"
        tally.add("traceback" if ended.traced else outcome, f"rerun={word}: {ended.said[-300:]}")
    broken = programs.run(*command, "rerun=true", "callbacks.inforeg.beta=x", cwd=cwd)
    kept = result.exists()
    tally.add("refused" if kept and broken.failed else "lost", f"rerun=true, wrong: {broken.said}")
