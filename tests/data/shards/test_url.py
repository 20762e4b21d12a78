"""URLs of shards: which are read, faults of servers, and credentials that nobody gets to see."""

import base64
import io
import logging
import random
import sys
import traceback

import pytest

from helpers import attacks_on_shards
from helpers.same_clips import assert_same_clips
from helpers.serving import FAULTS, serving
from inforeg_lightning.data.shards import SCHEMES, Shards, _url, shown
from inforeg_lightning.data.store import Store, StoreError

PASSING = ("429", "500", "503", "reset", "cut", "short", "unsized", "longer", "flipped", "empty")
SECRET = "s3cr3t"


class TestFaults:
    @pytest.mark.parametrize("fault", [*PASSING, "page", "packed", "stalled", "silent", "endless"])
    @pytest.mark.parametrize("name", ["shard-000000.tar", "index.csv"])
    def test_a_fault_that_passes_is_survived(self, made, server, tmp_path, hasty, fault, name):
        server.faults = {name: [fault, fault]}
        shards = Shards(f"{server.url}/small/shards", cache=tmp_path)
        assert_same_clips(shards, Store(made / "small/store"))
        assert server.asked.count(f"/small/shards/{name}") == 3

    @pytest.mark.parametrize("fault", PASSING)
    def test_one_that_lasts_is_one_error(self, server, tmp_path, hasty, fault):
        shards = Shards(f"{server.url}/small/shards", cache=tmp_path)
        server.always = {"shard-000000.tar": fault}
        with pytest.raises(StoreError, match=r"/small/shards/shard-000000\.tar .*tried 5 times"):
            shards.fetch([0])
        # Of a connection that ends without an answer aiohttp makes another by itself.
        assert server.asked.count("/small/shards/shard-000000.tar") in (5, 6, 10)
        assert not list(tmp_path.rglob("*.tar*"))

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ("403", "HTTP status 403, Forbidden"),
            ("404", "FileNotFoundError: there is no such file"),
            ("circle", "TooManyRedirects"),
            ("away", "NonHttpUrlRedirectClientError"),
        ],
    )
    def test_what_cannot_pass_is_not_tried_again(self, server, tmp_path, hasty, fault, message):
        server.always = {"shards.json": fault}
        with pytest.raises(StoreError, match=f"no finished shards at .*: {message}") as caught:
            Shards(f"{server.url}/small/shards", cache=tmp_path)
        assert "\x1b" not in str(caught.value)
        if fault != "circle":
            assert server.asked == ["/small/shards/shards.json"]

    def test_waits_grow(self, server, tmp_path, monkeypatch):
        waits = []
        monkeypatch.setattr(_url.time, "sleep", waits.append)
        server.always = {"shards.json": "503"}
        state = random.getstate()
        with pytest.raises(StoreError, match="HTTP status 503, Service Unavailable"):
            Shards(f"{server.url}/small/shards", cache=tmp_path)
        assert len(waits) == 4
        assert all(2**number / 2 <= wait <= 2**number for number, wait in enumerate(waits))
        assert random.getstate() == state  # that of the training

    @pytest.mark.parametrize("fault", ["stalled", "silent", "trickle"])
    def test_no_progress_ends_an_attempt(self, server, tmp_path, hasty, monkeypatch, fault):
        monkeypatch.setattr(_url, "ATTEMPTS", 2)
        server.always = {"shards.json": fault}
        with pytest.raises(StoreError, match=r"no progress for 0\.3 s \(tried 2 times\)"):
            Shards(f"{server.url}/small/shards", cache=tmp_path)

    def test_a_slow_file_that_makes_progress_is_waited_for(
        self, made, server, tmp_path, hasty, monkeypatch
    ):
        monkeypatch.setattr(_url, "LEAST_PROGRESS", 1)
        server.always = {"rejected.csv": "trickle"}  # takes four times PATIENCE
        Shards(f"{server.url}/small/shards", cache=tmp_path)
        assert server.asked.count("/small/shards/rejected.csv") == 1

    def test_a_mark_without_end_is_no_full_memory(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr("inforeg_lightning.data.shards._shards.MOST_OF_MARK", 10**6)
        server.always = {"shards.json": "endless"}
        with pytest.raises(StoreError, match=r"shards\.json is larger than 1000000 bytes"):
            Shards(f"{server.url}/small/shards", cache=tmp_path)

    def test_every_fault_ends_well(self, tmp_path):
        found = list(attacks_on_shards.faulty_servers(tmp_path, seed=0, count=40))
        assert len(found) == 40
        assert {ended for _, ended in found} == {"survived", "refused"}
        assert len({what.partition(": ")[2].rpartition(",")[0] for what, _ in found}) > 15
        assert len(FAULTS) >= 20


class TestSchemes:
    @pytest.mark.parametrize(
        "url",
        [
            *("memory://shards", "reference://x", "data://x", "local://x", "dir://x", "git://x"),
            *("zip://x::https://host/y.zip", "simplecache::https://host/x", "nosuch://bucket/x"),
            *("file://x::https://host/y", "javascript://x", "://x", "https://", "github://a:b@x"),
        ],
    )
    def test_others_are_refused_before_any_library_sees_them(self, url, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "fsspec", None)
        with pytest.raises(StoreError, match=r"has to begin with one of https://|is no URL of"):
            Shards(url, cache=tmp_path)

    def test_those_that_are_read_are_known_to_fsspec(self):
        from fsspec.registry import known_implementations

        assert set(SCHEMES) <= set(known_implementations)

    def test_files(self, made, tmp_path):
        shards = Shards(f"file://{made}/small/shards", cache=tmp_path)
        assert_same_clips(shards, Store(made / "small/store"))

    def test_nothing_there(self, server, tmp_path):
        with pytest.raises(StoreError, match=r"no finished shards at http://.*/nothing"):
            Shards(f"{server.url}/nothing", cache=tmp_path)
        with pytest.raises(StoreError, match=r"no finished shards at file:///nothing"):
            Shards("file:///nothing", cache=tmp_path)

    def test_nobody_there(self, tmp_path, hasty):
        with serving(tmp_path) as server:
            url = server.url
        with pytest.raises(StoreError, match=r"no finished shards at .*tried 5 times"):
            Shards(f"{url}/small/shards", cache=tmp_path)

    def test_one_without_its_package_says_what_to_install(self, monkeypatch, tmp_path):
        monkeypatch.setitem(sys.modules, "s3fs", None)
        with pytest.raises(ImportError, match=r"inforeg-lightning\[streaming\].*needs s3fs"):
            Shards("s3://bucket/shards", cache=tmp_path)


class TestCredentials:
    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://host:8/x/", "https://host:8/x"),
            ("https://me:pw@host/x", "https://***@host/x"),
            ("https://token@host/x", "https://***@host/x"),
            ("https://me:p@w@host/x", "https://***@host/x"),
            ("https://me:p/w@host/x", "https://***@host/x"),
            ("https://me:p@a/w@host/x", "https://***@host/x"),
            ("https://host/x?token=pw", "https://host/x?***"),
            ("https://host/x#pw", "https://host/x?***"),
            ("https://me:pw@host?a=b@c", "https://***@host?***"),
            ("https://host/@scope/x", "https://host/@scope/x"),
            ("https://[::1]:8000/x", "https://[::1]:8000/x"),
            ("s3://me:pw@bucket/x", "s3://***@bucket/x"),
            ("/folder/with@sign", "/folder/with@sign"),
        ],
    )
    def test_what_is_shown(self, url, expected):
        assert shown(url) == expected

    @pytest.fixture
    def guarded(self, server):
        server.password = f"Basic {base64.b64encode(f'me:{SECRET}'.encode()).decode()}"
        return server

    def place(self, server):
        return f"http://me:{SECRET}@{server.host}/small/shards"

    def test_they_are_sent(self, made, guarded, tmp_path):
        assert_same_clips(Shards(self.place(guarded), cache=tmp_path), Store(made / "small/store"))
        with pytest.raises(StoreError, match="HTTP status 401, Unauthorized"):
            Shards(f"{guarded.url}/small/shards", cache=tmp_path)

    def test_what_fsspec_is_configured_with_is_sent_too(self, made, server, tmp_path, monkeypatch):
        from fsspec.config import conf

        monkeypatch.setitem(
            conf, "http", {"headers": {"Authorization": "Bearer of the environment"}}
        )
        server.password = "Bearer of the environment"
        place = f"{server.url}/small/shards"
        assert_same_clips(Shards(place, cache=tmp_path), Store(made / "small/store"))

    def test_a_query_is_sent_for_every_file(self, made, server, tmp_path):
        server.token = f"token={SECRET}&v=1"
        place = f"{server.url}/small/shards?token={SECRET}&v=1"
        assert_same_clips(Shards(place, cache=tmp_path), Store(made / "small/store"))

    def test_another_server_does_not_get_them(self, made, guarded, tmp_path):
        with serving(made) as other:
            guarded.elsewhere = other.url
            assert_same_clips(
                Shards(self.place(guarded), cache=tmp_path), Store(made / "small/store")
            )
            assert set(guarded.authorizations) == {guarded.password}
            assert set(other.authorizations) == {None}

    @pytest.mark.parametrize("query", [False, True])
    @pytest.mark.parametrize("fault", [None, "403", "404", "503", "reset", "cut", "circle", "away"])
    def test_nobody_sees_them(
        self, server, tmp_path, hasty, caplog, capfd, monkeypatch, query, fault
    ):
        caplog.set_level(logging.DEBUG)
        place = f"{server.url}/small/shards?token={SECRET}" if query else self.place(server)
        told = []
        for name in ("shards.json", "index.csv", "shard-000000.tar"):
            server.always = {} if fault is None else {name: fault}
            try:
                shards = Shards(place, cache=tmp_path)
                shards.fetch([0])
                told += [shards.place, *(str(i) for i in shards.check())]
                shards.audio(10**6)
            except (StoreError, IndexError) as error:
                told += [self.all_of(error)]
        kept = [f"{path} {path.read_bytes()!r}" for path in tmp_path.rglob("*") if path.is_file()]
        output = capfd.readouterr()
        seen = "\n".join([*told, *kept, caplog.text, output.out, output.err])
        assert "small/shards" in seen
        assert SECRET not in seen
        assert base64.b64encode(f"me:{SECRET}".encode()).decode() not in seen

    def all_of(self, error):
        """All that a tool might show: every error behind this one, hidden ones too."""
        text = io.StringIO()
        traceback.print_exception(error, file=text)
        while error is not None:
            text.write(f"{error!r} {error.args!r} {vars(error)!r}")
            error = error.__cause__ or error.__context__
        return text.getvalue()

    @pytest.mark.parametrize("url", ["ftp://me:{}@host/x", "https://me:{}@ho st/x", "zip://{}@x"])
    def test_nor_in_a_url_that_is_refused(self, url, tmp_path, hasty):
        with pytest.raises(StoreError) as caught:
            Shards(url.format(SECRET), cache=tmp_path)
        assert SECRET not in self.all_of(caught.value)

    def test_the_cache_is_of_the_content_alone(self, made, server, tmp_path):
        for place in (f"{server.url}/small/shards", f"{server.url}/small/shards?token={SECRET}"):
            Shards(place, cache=tmp_path).fetch([0])
        assert len(list(tmp_path.iterdir())) == 1
        assert server.asked.count("/small/shards/shard-000000.tar") == 1
