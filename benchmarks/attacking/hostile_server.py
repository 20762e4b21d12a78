"""A server that means harm: what its `shards.json`, tables and tar files say is made up.

Nothing may be written outside the cache folder, whatever names it gives; and whatever it sends is
refused in a sentence, or read as the store it claims to be. (A server whose digests fit its data
decides what is trained on; that is no attack on this library.)
"""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacking import damage
from attacking.damage import Rng
from attacking.faulty_http import _hurry
from attacking.files import differ
from attacking.samples import Samples
from attacking.served import serving
from attacking.tally import Tally

DEFAULT = 1000
_TRUE = "a table that fits its digest"  # may be read: the server decides what it serves
_NAMES = (
    "../evil", "../../evil.py", "/tmp/evil", "shard-000000.tar/../../evil", "..", ".", "", "\x00",
    "shard-000000.tar\x00", "~/.bashrc", "a/b", "a\\b", "..\\evil", "%2e%2e%2fevil", "con",
    "x" * 300,
    "shards.json", "index.csv", "shard-000000.tar\n", "SHARD-000000.TAR", "shard-0000000.tar",
    "shard-1.tar", "shard-٠٠٠٠٠٠.tar", "file:///etc/passwd", "http://127.0.0.1:1/x", "?x", "#x",
)  # fmt: skip
_VALUES = (
    None, True, -1, 0, 1, 1.5, 2**31, 2**53, 2**63, 2**64, 10**30, 10**4000, float("nan"),
    float("inf"), "", "0", "x" * 1000, [], {}, [[]], [1, 2, 3], {"a": 1}, ["../evil"], "../evil",
)  # fmt: skip


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Read from ``count`` hostile servers."""
    from inforeg_lightning.data.shards import Shards
    from inforeg_lightning.data.store import Store

    _hurry()
    contents = {path.name: path.read_bytes() for path in samples.shards.iterdir()}
    store, cache = Store(samples.store), work / "deep" / "in" / "here" / "cache"
    cache.mkdir(parents=True)
    outside = _everything(work, cache)
    with serving() as (server, url):
        for number in range(count):
            way = str(rng.choice(list(_WAYS)))
            files = _WAYS[way](dict(contents), rng)
            server.files = {f"{number}/{name}": content for name, content in files.items()}
            # What a name outside would be asked for, by a client that believes it.
            server.files |= dict.fromkeys(("evil", "evil.py", f"{number}/evil"), b"planted")
            what = f"server {number}, {way}"
            with tally.refusing(what):
                wrong = differ(Shards(f"{url}/{number}", cache=cache), store)
                wrong = "" if way == _TRUE else wrong
                tally.add("wrong" if wrong else "survived", f"{what}: read with {wrong}")
            if (now := _everything(work, cache)) != outside:
                tally.add("wrong", f"{what}: wrote outside the cache: {now ^ outside}")
                outside = now
    for planted in (Path("/tmp/evil"), Path("~/.bashrc").expanduser()):
        if planted.exists() and planted.read_bytes() == b"planted":
            tally.add("wrong", f"wrote {planted}")


def _everything(work: Path, cache: Path) -> frozenset[Path]:
    return frozenset(path for path in work.rglob("*") if not path.is_relative_to(cache))


Files = dict[str, bytes]


def _said(files: Files, meta: dict[str, Any]) -> Files:
    """``shards.json`` with anything in it, and a digest of itself that fits."""
    said = {key: value for key, value in meta.items() if key != "digest"}
    try:
        digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        text = json.dumps(said | {"digest": digest}, indent=2) + "\n"
    except (ValueError, TypeError, RecursionError):
        return files
    return files | {"shards.json": text.encode(errors="surrogatepass")}


def _changed(files: Files, rng: Rng) -> Files:
    """One value anywhere, of another kind."""
    meta = json.loads(files["shards.json"])
    node = meta
    while True:
        key = rng.choice(sorted(node)) if isinstance(node, dict) else int(rng.integers(len(node)))
        inner = node[key]
        if not isinstance(inner, dict | list) or not inner or rng.random() < 0.3:
            break
        node = inner
    node[key] = _VALUES[int(rng.integers(len(_VALUES)))]
    return _said(files, meta)


def _renamed(files: Files, rng: Rng) -> Files:
    """A name that leads elsewhere, wherever the names of files stand."""
    meta = json.loads(files["shards.json"])
    evil = str(rng.choice(_NAMES))
    old = str(rng.choice(sorted(name for name in files if name != "shards.json")))
    for key, node in meta.items():
        if isinstance(node, dict) and old in node:
            meta[key] = {evil if name == old else name: value for name, value in node.items()}
    return _said(files | {evil: files[old]}, meta)


def _added(files: Files, rng: Rng) -> Files:
    """A further file, with a size and a digest that are true."""
    meta, evil = json.loads(files["shards.json"]), str(rng.choice(_NAMES))
    for key, node in meta.items():
        if isinstance(node, dict) and any(name in node for name in files):
            value = next(iter(node.values()))
            node[evil] = hashlib.sha256(b"planted").hexdigest() if isinstance(value, str) else 7
            meta[key] = node
    return _said(files | {evil: b"planted"}, meta)


def _spoilt(files: Files, rng: Rng) -> Files:
    """Other bytes in any file, and nothing said of it."""
    name = str(rng.choice(sorted(files)))
    return files | {name: damage.spoil(files[name], rng)[1]}


def _fitting(files: Files, rng: Rng) -> Files:
    """Other bytes in a table, with a size and a digest that fit them."""
    name = str(rng.choice(["index.csv", "rejected.csv", "places.npz"]))
    content = damage.spoil(files[name], rng)[1]
    meta = json.loads(files["shards.json"])
    for node in meta.values():
        if isinstance(node, dict) and name in node:
            old = node[name]
            fits = hashlib.sha256(content).hexdigest() if isinstance(old, str) else len(content)
            node[name] = fits
    return _said(files | {name: content}, meta)


def _deep(files: Files, rng: Rng) -> Files:
    """JSON that is deeper than a parser goes, or much of it."""
    depth = int(rng.choice([100, 10_000, 200_000]))
    text = rng.choice(["[" * depth, '{"a":' * depth, "[" * depth + "]" * depth, "1" * depth])
    return files | {"shards.json": str(text).encode()}


def _twice(files: Files, rng: Rng) -> Files:
    """Keys that stand there twice, with different values."""
    text = files["shards.json"].decode()
    meta = json.loads(text)
    key = str(rng.choice(sorted(meta)))
    more = json.dumps({key: _VALUES[int(rng.integers(10))]})[1:-1]
    return files | {"shards.json": text.replace("{", "{" + more + ",", 1).encode()}


_WAYS: dict[str, Callable[[Files, Rng], Files]] = {
    "a value of another kind": _changed,
    "a name that leads elsewhere": _renamed,
    "a further file": _added,
    "spoilt": _spoilt,
    _TRUE: _fitting,
    "deep": _deep,
    "a key twice": _twice,
}
