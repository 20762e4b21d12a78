"""Files of results: read as they were written, whole or not at all."""

import json

import pytest

from running import kept

CONTENT = {"seeds": [0, 1], "cells": {"a × b": {"joint": [0.1, None]}, "c": {}}, "none": {}}


def test_what_is_written_is_read_again_and_has_a_line_per_entry(tmp_path):
    file = tmp_path / "results.json"
    kept.write(file, CONTENT)
    assert kept.read(file) == CONTENT
    assert '"a × b": {"joint":[0.1,null]},' in file.read_text(encoding="utf-8").splitlines()
    assert [path.name for path in tmp_path.iterdir()] == ["results.json"]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "results.json"
    kept.write(file, CONTENT)

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(kept.os, "replace", full)
    with pytest.raises(OSError, match="no space"):
        kept.write(file, {"seeds": []})
    assert kept.read(file) == CONTENT


def test_no_file_is_nothing_and_a_broken_one_is_said_to_be(tmp_path):
    assert kept.read(tmp_path / "none.json") == {}
    (tmp_path / "half.json").write_text(json.dumps(CONTENT)[:20])
    with pytest.raises(kept.KeptError, match=r"--out: .*half\.json cannot be read .* another file"):
        kept.read(tmp_path / "half.json")
