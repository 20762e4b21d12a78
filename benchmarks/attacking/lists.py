"""Hostile lists of the published halves, read by the data module of a healthy store.

Where a list is taken, the splits must be what its lines say, read in the simplest way; a list
that contradicts itself, the other list or the store must be refused.
"""

from pathlib import Path

from attacking import damage
from attacking.damage import Rng
from attacking.samples import EMOTIONS, Samples
from attacking.tally import Tally

DEFAULT = 1000
_LINES = (
    "", ",", ",,", "name", "name,", ",NEU", "a,6", "a,-1", "a,NEU,x", "a,１", "a,²", "a,nan",
    "a,1e0",
    "a, 0x1", '"a",NEU', "a\tNEU", "a;NEU", "# comment", "../../etc/passwd,NEU", "a,NEU" * 5000,
    "\x00", "\ufeffa,NEU", "a\u2028b,NEU", "=1+1,NEU", "<script>,NEU",
)  # fmt: skip


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Split by ``count`` pairs of lists."""
    from inforeg_lightning.data.store import Store

    names = [str(name) for name in Store(samples.store).names]
    work.mkdir(parents=True)
    for number in range(count):
        halves = _halves(names, rng)
        way, spoilt = _spoil(halves, rng)
        files = {half: work / f"{half}.csv" for half in spoilt}
        for half, content in spoilt.items():
            files[half].write_bytes(content)
        with tally.refusing(f"lists {number}, {way}"):
            found = _split(samples.store, names, files)
            expected = {half: _read(content) for half, content in spoilt.items()}
            wrong = _difference(found, expected, names)
            tally.add("wrong" if wrong else "survived", f"lists {number}, {way}: {wrong}")


def _halves(names: list[str], rng: Rng) -> dict[str, list[str]]:
    order = rng.permutation(names).tolist()
    lines = [f"{name},{name.split('_')[2]}" for name in order]
    return {"train": lines[: len(lines) // 2], "test": lines[len(lines) // 2 :]}


def _spoil(halves: dict[str, list[str]], rng: Rng) -> tuple[str, dict[str, bytes]]:
    half, other = rng.permutation(["train", "test"]).tolist()
    lines = list(halves[half])
    place = int(rng.integers(len(lines)))
    kind = int(rng.integers(8))
    if kind == 0:
        way = "a clip in both lists"
        lines.append(str(rng.choice(halves[other])))
    elif kind == 1:
        way = "a clip with another class"
        name, emotion = lines[place].split(",")
        lines[place] = f"{name},{rng.choice([e for e in EMOTIONS if e != emotion])}"
    elif kind == 2:
        way = "a line of another kind"
        lines.insert(place, str(rng.choice(_LINES)))
    elif kind == 3:
        way = "a clip twice, with another class"
        name, emotion = lines[place].split(",")
        lines.append(f"{name},{rng.choice([e for e in EMOTIONS if e != emotion])}")
    elif kind == 4:
        way, lines = "a list of the other half", list(halves[other])
    contents = {
        half: "\n".join(lines).encode(errors="surrogatepass"),
        other: "\n".join(halves[other]).encode(),
    }
    if kind >= 5:
        way, contents[half] = damage.spoil(contents[half], rng)
    return f"{half}: {way}", contents


def _split(store: Path, names: list[str], files: dict[str, Path]) -> dict[str, set[str]]:
    from inforeg_lightning.data import CREMADDataModule

    module = CREMADDataModule(store, train_list=files["train"], test_list=files["test"])
    module.check()
    assert module.split is not None
    found = {part: {names[row] for row in rows} for part, rows in module.split.rows.items()}
    return {"train": found["train"] | found["val"], "test": found["test"]}


def _read(content: bytes) -> dict[str, str]:
    text = content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = [line.strip().split(",") for line in text.split("\n") if line.strip()]
    return {parts[0].strip(): parts[-1].strip() for parts in lines}


def _difference(
    found: dict[str, set[str]], expected: dict[str, dict[str, str]], names: list[str]
) -> str:
    if both := set(expected["train"]) & set(expected["test"]):
        return f"taken, though both lists have {sorted(both)[:3]}"
    for half, listed in expected.items():
        if (wanted := set(listed) & set(names)) != found[half]:
            return f"another {half} half: {sorted(wanted ^ found[half])[:3]}"
        for name in wanted:
            if listed[name] not in (name.split("_")[2], str(EMOTIONS.index(name.split("_")[2]))):
                return f"taken, though {name} is listed as {listed[name]}"
    return ""
