"""Shards that somebody made to do harm: hostile names, values and tables, with digests that fit.

``manifests`` and ``tables`` generate the files; ``helpers.attacks_on_shards`` opens them.
"""

import csv
import hashlib
import io
import json
import zipfile

import numpy as np

from inforeg_lightning.data.shards._manifest import render

NAMES = (
    *("../evil.tar", "../../evil.tar", "../../../../../../../../tmp/evil.tar", "./evil.tar"),
    *("..", ".", "", "/", "//evil.tar", "/tmp/evil.tar", "/dev/stdin", "/dev/full", "/dev/zero"),
    *("a/../../evil.tar", "shard-000000.tar/../../evil.tar", "..\\evil.tar", "C:\\evil.tar"),
    *("CON", "NUL", "con.tar", "~/.bashrc", "$HOME/evil", "$(touch evil)", "`touch evil`"),
    *("%2e%2e/evil.tar", "..%2fevil.tar", "http://127.0.0.1/evil", "file:///tmp/evil"),
    *("shard-000000.tar\0", "shard-000000.tar\n", "shard-000000.tar ", "\nshard-000000.tar"),
    *("Shard-000000.tar", "SHARD-000000.TAR", "shard-0.tar", "shard-0000000.tar", "shard-.tar"),
    *("shard-٠٠٠٠٠٠.tar", "shard-²²²²²².tar", "shard-00000a.tar", "shard--00001.tar"),
    *("shard-000000.tar.partial", "shard-000000.tar.gz", "shards.json", "unfinished.json"),
    *("sitecustomize.py", "../sitecustomize.py", ".ssh/authorized_keys", "evil.pth", "\ud800"),
    *("a" * 300, "../" * 200 + "evil.tar", "shard-000001.tar", "index.csv", "<script>", "\x1b[31m"),
)
"""Names that ``write_shards`` never gives to the first shard."""

VALUES = (
    *(None, True, False, "", "x", "../x", [], {}, [[]], {"a": {}}, -1, 0, 1, 1.5, -0.0),
    *(2**31, 2**53, 2**63, 2**64, 10**400, 1e308, float("nan"), float("inf")),
    *([1], [1, 2, 3], [0, 0], [-1, -1], [2**40, 2**40], ["a", "b"], [None, None], "\0", "é" * 999),
)
"""Values that are put in the place of others."""


def manifests(meta, victim, payload):
    """Hostile contents of ``shards.json``.

    Args:
        meta: What the unharmed one holds.
        victim: A folder outside of the cache, as text: absolute names lead there.
        payload: The bytes that the server gives for every name, so that sizes and digests fit.

    Yields:
        What is hostile, and the bytes.
    """
    for name in (*NAMES, f"{victim}/evil.tar"):
        yield f"shard {name[:40]!r}", render(_renamed(meta, "shards", name, payload))
        yield f"one more shard {name[:40]!r}", render(_added(meta, name, payload))
        yield f"table {name[:40]!r}", render(_renamed(meta, "tables", name, payload))
    for key in (*meta, "shards of", "tables of", "sha256 of"):
        inner = key.removesuffix(" of")
        for value in VALUES:
            if key == inner:
                changed = meta | {key: value}
            else:
                first = next(iter(meta[inner]))
                changed = meta | {inner: meta[inner] | {first: value}}
            # Other settings that are well formed are not hostile: they may be anything.
            if changed != meta and not (key == "settings" and isinstance(value, dict)):
                yield f"{key} = {str(value)[:40]}", _rendered(changed)
        yield f"no {key}", _rendered({k: v for k, v in meta.items() if k != inner})
    good = render(meta)
    yield from _texts(good)


def _texts(good):
    text = good.decode()
    yield "nothing", b""
    yield "nested deeply", b"[" * 10**5 + b"]" * 10**5
    yield "a number without end", b'{"version": ' + b"9" * 10**5 + b"}"
    yield "a key twice", text.replace("{", '{"shards": {"../evil.tar": 4}, ', 1).encode()
    yield "UTF-16", text.encode("utf-16")
    yield "no UTF-8", good.replace(b"cremad", b"\xff\xfe")
    yield "a mark of byte order", b"\xef\xbb\xbf" + good
    yield "more at the end", good + b"{}"
    yield "cut", good[: len(good) // 2]
    yield "a list", b"[" + good + b"]"
    yield "other spaces", json.dumps(json.loads(good)).encode()
    for word in (b"null", b"true", b"0", b'"shards"', b"NaN", b"\0\0\0\0"):
        yield word.decode(), word


def _rendered(meta):
    """The bytes with a digest that fits, where such a thing can be had."""
    try:
        return render(meta)
    except (ValueError, TypeError, AttributeError):
        return json.dumps(meta, default=str).encode()


def _renamed(meta, key, name, payload):
    first, *others = meta[key]
    changed = {name: len(payload)} | {other: meta[key][other] for other in others}
    return _with_digest(meta | {key: changed}, name, payload, without=first)


def _added(meta, name, payload):
    changed = meta | {"shards": meta["shards"] | {name: len(payload)}}
    return _with_digest(changed, name, payload)


def _with_digest(meta, name, payload, without=None):
    digests = {of: digest for of, digest in meta.get("sha256", {}).items() if of != without}
    return meta | {"sha256": digests | {name: hashlib.sha256(payload).hexdigest()}}


def tables(folder):
    """Hostile tables of a folder of shards.

    Yields:
        What is hostile, the name of the file, and its bytes.
    """
    text = (folder / "index.csv").read_text()
    rows = list(csv.reader(io.StringIO(text)))
    for column in range(1, len(rows[0])):
        for value in ("", "x", "-1", "1e3", "\0", "9" * 30, "9" * 5000, str(2**63), "nan"):
            if rows[0][column] not in ("group", "split"):
                changed = [list(row) for row in rows]
                changed[1][column] = value
                yield f"{rows[0][column]} {value[:20]!r}", "index.csv", _csv(changed)
    yield "a field of 200 kB", "index.csv", text.replace(rows[1][0], "a" * 200_000).encode()
    yield "no clip", "index.csv", _csv(rows[:1])
    yield "a clip more", "index.csv", _csv([*rows, rows[1]])
    yield "a column more", "index.csv", _csv([[*row, "1"] for row in rows])
    yield "an open quote", "index.csv", b'"' + text.encode()
    yield "no UTF-8", "index.csv", b"\xff\xfe" + text.encode()
    yield "nothing", "index.csv", b""
    yield "other columns", "rejected.csv", b"name\na\nb\n"
    with np.load(folder / "places.npz") as opened:
        places = dict(opened)
    for what, content in _archives(places):
        yield what, "places.npz", content


def _archives(places):
    for name in places:
        for change in (-(2**62), -(2**20), 2**20, 2**40, 2**62):
            yield f"{name} {change:+}", _npz(places | {name: places[name] + change})
        for odd in (places[name][:-1], places[name].astype(float), places[name].astype(str)):
            yield f"{name} {odd.dtype} {odd.shape}", _npz(places | {name: odd})
        objects = np.array([_Evil()] * len(places[name]), object)
        yield f"{name} of pickles", _npz(places | {name: objects})
        yield f"no {name}", _npz({key: of for key, of in places.items() if key != name})
    yield "one more", _npz(places | {"evil": np.zeros(3)})
    good = _npz(places)
    yield "cut", good[: len(good) // 2]
    yield "the end of an archive only", good[-200:]
    yield "no archive", b"PK\3\4" + bytes(100)
    for size in (10**6, 10**10):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in places:
                header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': ({size},), }}\n"
                start = b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header.encode()
                archive.writestr(f"{name}.npy", start + bytes(10**6))
        yield f"packed zeros that say to be {size} numbers", packed.getvalue()


class _Evil:
    def __reduce__(self):
        return exec, ("open('evil', 'w')",)


def _csv(rows):
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def _npz(arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def with_table(meta, name, content):
    """``shards.json`` for another content of a table, with a size and digest that fit."""
    sizes = meta.get("tables", {}) | {name: len(content)}
    digests = meta.get("sha256", {}) | {name: hashlib.sha256(content).hexdigest()}
    return render(meta | {"tables": sizes, "sha256": digests})
