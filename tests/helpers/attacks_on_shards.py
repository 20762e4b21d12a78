"""Attacks on shards, each of which ends as ``refused``, ``survived``, or as something worse.

``benchmarks/attacks.py`` repeats them in numbers; the tests run a few of each. Every family takes
an empty folder to work in, a seed and how many inputs it may try at most, and yields what was
tried and how it ended:

- ``refused``: one ``StoreError``;
- ``survived``: every clip was read, and is that of the store;
- ``wrong``: a clip is another than in the store, or a flipped bit was found by nobody;
- ``lost``: what was finished, or could be done again, is not there;
- ``planted``: a file lies where none belongs;
- ``traceback: …``: any other exception.
"""

import itertools
import multiprocessing
import os
import shutil

import numpy as np

from helpers import hostile_shards
from helpers.same_clips import assert_same_clips
from helpers.serving import FAULTS, serving
from inforeg_lightning.data.shards import Shards, _url, write_shards
from inforeg_lightning.data.shards._manifest import parse
from inforeg_lightning.data.store import Store, StoreError, StoreWriter

PAYLOAD = b"import os\n"
FILES = ("shards.json", "index.csv", "rejected.csv", "places.npz", "shard-000000.tar")


def hostile_servers(work, seed, count):
    """Shards made to do harm, opened from a server and from a folder."""
    make(work)
    evil, victim = shutil.copytree(work / "shards", work / "served/evil"), work / "victim"
    victim.mkdir()
    meta = parse((evil / "shards.json").read_bytes(), "")
    inputs = [
        *((what, "shards.json", c) for what, c in hostile_shards.manifests(meta, victim, PAYLOAD)),
        *hostile_shards.tables(evil),
    ]
    with serving(work / "served") as server:
        server.payload = PAYLOAD
        for number in _some(len(inputs), seed, count):
            what, name, content = inputs[number]
            for path in evil.iterdir():
                shutil.copyfile(work / "shards" / path.name, path)
            (evil / name).write_bytes(content)
            if name != "shards.json":
                (evil / "shards.json").write_bytes(hostile_shards.with_table(meta, name, content))
            for place in (f"{server.url}/evil", evil):
                ended = _ending(work, place)
                yield f"{name}: {what}", ended


def faulty_servers(work, seed, count):
    """Every fault of a server in every kind of file, once and always."""
    make(work)
    shutil.copytree(work / "shards", work / "served/good")
    inputs = list(itertools.product(FAULTS, FILES, ("once", "twice", "always")))
    with serving(work / "served") as server, _haste():
        for number in _some(len(inputs), seed, count):
            fault, name, times = inputs[number]
            server.always = {name: fault} if times == "always" else {}
            server.faults = {name: [fault] * {"once": 1, "twice": 2, "always": 0}[times]}
            yield f"{name}: {FAULTS[fault]}, {times}", _ending(work, f"{server.url}/good")


def flipped_bits(work, seed, count):
    """One bit of one file of a folder, in turn in each file; opening or ``check`` has to see it."""
    make(work)
    rng = np.random.default_rng(seed)
    files = sorted((work / "shards").iterdir())
    for number in range(count):
        path = files[number % len(files)]
        content = bytearray(path.read_bytes())
        bit = int(rng.integers(8 * len(content)))
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        try:
            ended = "refused" if Shards(work / "shards").check() else "wrong"
        except StoreError:
            ended = "refused"
        except Exception as error:
            ended = f"traceback: {error!r}"
        yield f"{path.name}, bit {bit}", ended
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)


def harmed_caches(work, seed, count):
    """A file in the cache is cut, emptied, replaced or no file: it is fetched again, or refused."""
    make(work)
    shutil.copytree(work / "shards", work / "served/good")
    inputs = list(itertools.product(FILES[1:], _HARMS, (0, 1)))
    with serving(work / "served") as server:
        for number in _some(len(inputs), seed, count):
            name, harm, partial = inputs[number]
            shutil.rmtree(work / "cache", ignore_errors=True)
            place = f"{server.url}/good"
            _read(Shards(place, cache=work / "cache"))
            (file,) = (work / "cache").rglob(name)
            _HARMS[harm](file.with_name(f"{name}.partial") if partial else file, file.read_bytes())
            if partial:
                file.unlink()
            yield f"{name}{'.partial' * partial}: {harm}", _ending(work, place, fresh=False)


def killed_processes(work, seed, count):
    """Processes that write or fetch shards, each killed at a random moment and started again."""
    make(work)
    shutil.copytree(work / "shards", work / "served/good")
    rng = np.random.default_rng(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that a process begins at once
    first = context.Process(target=int)  # waits for the preloading
    first.start()
    first.join()
    with serving(work / "served") as server:
        jobs = {
            "writing": (_write, work / "store", work / "out"),
            "fetching": (_fetch, f"{server.url}/good", work),
        }
        for number in range(count):
            for path in (work / "out", work / "cache"):
                shutil.rmtree(path, ignore_errors=True)
            what = "fetching" if number % 2 else "writing"
            process = context.Process(target=jobs[what][0], args=jobs[what][1:])
            process.start()
            process.join(rng.uniform(0, 0.3))  # about as long as either takes
            process.kill()
            process.join()
            again = number % 2 == 0
            yield (
                f"{what} was killed",
                _written_again(work) if again else _ending(work, f"{server.url}/good", fresh=False),
            )


def _write(store, out):
    write_shards(store, out, shard_mb=0.004)


def _fetch(place, work):
    _read(Shards(place, cache=work / "cache"))


def _written_again(work):
    try:
        if (work / "out/shards.json").exists():
            assert Shards(work / "out").check() == []
        _write(work / "store", work / "out")
    except AssertionError:
        return "wrong"
    except Exception as error:
        return f"traceback: {error!r}"
    files = {path.name: path.read_bytes() for path in (work / "shards").iterdir()}
    same = files == {path.name: path.read_bytes() for path in (work / "out").iterdir()}
    return "survived" if same else "lost"


def _half(path, content):
    path.write_bytes(content[: len(content) // 2])


def _flip(path, content):
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def _link(path, content):
    path.unlink(missing_ok=True)
    path.symlink_to(path.parents[2] / "victim")


def _folder(path, content):
    path.unlink(missing_ok=True)
    path.mkdir()


def _pipe(path, content):
    path.unlink(missing_ok=True)
    os.mkfifo(path)


_HARMS = {
    "half": _half,
    "empty": lambda path, content: path.write_bytes(b""),
    "longer": lambda path, content: path.write_bytes(content + b"more"),
    "another text": lambda path, content: path.write_bytes(b"no"),
    "a link to nowhere": _link,
    "a folder": _folder,
    "a pipe": _pipe,
}


def make(work):
    """A small store in ``work/store`` and its shards in ``work/shards``."""
    rng = np.random.default_rng(0)
    with StoreWriter(work / "store", {"data": "cremad"}) as writer:
        for clip in range(6):
            frames = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
            split = "test" if clip == 5 else "train"
            writer.add(f"{clip}", clip, frames, rng.standard_normal((4, 5)), str(clip), split)
        writer.reject("6", "video: truncated")
    write_shards(work / "store", work / "shards", shard_mb=0.004)


def _some(inputs, seed, count):
    return np.random.default_rng(seed).permutation(inputs)[:count].tolist()


def _ending(work, place, fresh=True):
    """How it ends to open shards and to read all of their clips."""
    cache = work / "cache"
    if fresh:
        shutil.rmtree(cache, ignore_errors=True)
    try:
        shards = Shards(place, cache=cache)
        _read(shards)
        assert_same_clips(shards, Store(work / "store"))
        ended = "survived"
    except StoreError:
        ended = "refused"
    except AssertionError:
        ended = "wrong"
    except Exception as error:
        ended = f"traceback: {error!r}"
    planted = [path for path in work.rglob("*") if _is_planted(path, work)]
    for path in planted:
        path.unlink()
    return "planted" if planted else ended


def _read(shards):
    shards.fetch(range(len(shards.files)))
    for clip in range(len(shards)):
        shards.audio(clip)
        shards.frames(clip, range(shards.frame_count(clip)))


def _is_planted(path, work):
    inside = path.relative_to(work).parts
    if path.is_dir() or inside[0] in ("store", "shards", "served", "out"):
        return False
    name = path.name.removesuffix(".partial")
    known = name in FILES or (name.startswith("shard-00000") and name.endswith(".tar"))
    return not (inside[0] == "cache" and len(inside) == 3 and known)


class _haste:
    """Waits are short inside of this."""

    def __enter__(self):
        self.before = _url.FIRST_WAIT, _url.PATIENCE
        _url.FIRST_WAIT, _url.PATIENCE = 1e-3, 0.2

    def __exit__(self, *_):
        _url.FIRST_WAIT, _url.PATIENCE = self.before
