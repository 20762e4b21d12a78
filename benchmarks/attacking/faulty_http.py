"""HTTP faults while shards are read from a URL: refused in a sentence, or read right after all.

Every file of a folder of shards is answered with a fault once, twice or always. What is read must
be the store, byte for byte, and no message may hold the password that the URL has.
"""

from pathlib import Path

from attacking.damage import Rng
from attacking.files import differ
from attacking.samples import Samples
from attacking.served import FAULTS, serving
from attacking.tally import Tally

DEFAULT = 150
_SECRET = "s3cret-Pa55"


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Read the shards ``count`` times, each with other faults."""
    from inforeg_lightning.data.shards import Shards
    from inforeg_lightning.data.store import Store

    _hurry()
    contents = {path.name: path.read_bytes() for path in samples.shards.iterdir()}
    store = Store(samples.store)
    with serving() as (server, url):
        host = url.removeprefix("http://")
        for number in range(count):
            folder, way = f"{number}", str(rng.choice(list(FAULTS)))
            name, often = str(rng.choice(sorted(contents))), int(rng.choice([1, 2, 100]))
            server.files = {f"{folder}/{file}": content for file, content in contents.items()}
            server.faults = {f"{folder}/{name}": [FAULTS[way]] * often}
            what = f"{name}, {way}, {often} times"
            with tally.refusing(what):
                address = f"http://user:{_SECRET}@{host}/{folder}"
                clips = Shards(address, cache=work / f"cache{number}")
                wrong = differ(clips, store)
                tally.add("wrong" if wrong else "survived", f"{what}: read with {wrong}")
            if _SECRET in tally.last or any(_SECRET in str(path) for path in work.rglob("*")):
                tally.add("wrong", f"{what}: the password is shown or stored: {tally.last}")


def _hurry() -> None:
    """Wait a second where a user's program waits a minute: the same code, in a hundredth."""
    from inforeg_lightning.data.shards import _url

    _url.FIRST_WAIT, _url.PATIENCE = 0.01, 1.0
