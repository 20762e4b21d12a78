"""What shards.json may say: the names, sizes and values that are written, and nothing else."""

import hashlib
import json
import os

import pytest

from helpers import attacks_on_shards, hostile_shards
from inforeg_lightning.data.shards import Shards
from inforeg_lightning.data.shards._manifest import TABLES, read_manifest, render
from inforeg_lightning.data.store import StoreError


@pytest.fixture
def meta(made):
    return json.loads((made / "raw.shards/shards.json").read_text())


def test_what_is_written_is_read(made, meta):
    content = (made / "raw.shards/shards.json").read_bytes()
    manifest = read_manifest(content, "x")
    assert list(manifest.files) == [*meta["shards"], *meta["tables"]]
    assert {name: entry.size for name, entry in manifest.files.items()} == {
        name: (made / "raw.shards" / name).stat().st_size for name in manifest.files
    }
    assert render(meta) == content


@pytest.mark.parametrize("name", ["../../planted.py", "{absolute}", "sitecustomize.py", "a/b.tar"])
def test_a_server_plants_no_file(made, meta, server, tmp_path, name):
    payload = b"print('owned')\n"
    name = name.format(absolute=tmp_path / "home/planted.py")
    (tmp_path / "home").mkdir()
    first, *others = meta["shards"]
    meta["shards"] = {name: len(payload)} | {other: meta["shards"][other] for other in others}
    meta["sha256"][name] = hashlib.sha256(payload).hexdigest()
    del meta["sha256"][first]
    evil = made / "evil"
    evil.mkdir(exist_ok=True)
    for path in (made / "raw.shards").iterdir():
        (evil / path.name).write_bytes(path.read_bytes())
    (evil / "shards.json").write_bytes(render(meta))
    server.payload = payload
    with pytest.raises(StoreError, match=r"are refused: shards\.json has names of the shards"):
        Shards(f"{server.url}/evil", cache=tmp_path / "a/cache").fetch([0])
    with pytest.raises(StoreError, match=r"are refused: shards\.json has names of the shards"):
        Shards(evil).fetch([0])
    assert server.asked == ["/evil/shards.json"]
    assert sorted(os.listdir(tmp_path)) == ["home"]
    assert os.listdir(tmp_path / "home") == []


@pytest.mark.parametrize(
    ("key", "name"),
    [
        *(("shards", name) for name in hostile_shards.NAMES),
        *(("tables", name) for name in hostile_shards.NAMES if name not in TABLES),
    ],
)
def test_no_other_name_passes(meta, key, name):
    first, *others = meta[key]
    changed = {name: meta[key][first]} | {other: meta[key][other] for other in others}
    digests = {other: meta["sha256"][other] for other in meta["sha256"] if other != first}
    content = render(meta | {key: changed, "sha256": digests | {name: meta["sha256"][first]}})
    with pytest.raises(StoreError, match=r"shards\.json"):
        read_manifest(content, "x")


def test_order_and_number_of_the_names_are_those_that_are_written(meta):
    for names in (list(meta["shards"])[::-1], list(meta["shards"])[1:]):
        shards = {name: meta["shards"][name] for name in names}
        with pytest.raises(StoreError, match=r"shards\.json has names of the shards"):
            read_manifest(render(meta | {"shards": shards}), "x")


def test_another_digest_of_itself_is_seen(meta):
    content = render(meta)
    changed = content.replace(b'"clips": 42', b'"clips": 41')
    assert changed != content
    with pytest.raises(StoreError, match=r"shards\.json has other bytes than were written"):
        read_manifest(changed, "x")


def test_every_hostile_input_is_refused_or_harmless(tmp_path):
    found = list(attacks_on_shards.hostile_servers(tmp_path, seed=1, count=120))
    assert len(found) == 240  # from a server and from a folder
    assert {ended for _, ended in found} == {"refused", "survived"}
    # What is survived says nothing that matters: another shard_mb, settings or old digest.
    harmless = (
        "shards.json: shard_mb",
        "shards.json: settings",
        "shards.json: digest",
        "shards.json: no digest",
    )
    assert all(what.startswith(harmless) for what, ended in found if ended == "survived")
