"""A pickle of others: arrays and plain values are read, and nothing that could run code is."""

import os
import pickle

import numpy as np
import pytest

from inforeg_lightning.data.loading.pickles import read_pickle

PLAIN = {
    "array": np.arange(6, dtype=np.float32).reshape(2, 3),
    "names": np.array(["a", "b"], dtype=object),
    "number": np.float64(0.5),
    "rest": [1, 2.5, "text", None, True, b"bytes", (1, 2), {3}, frozenset({4}), 1j],
}


class Runs:
    """What opening it with ``pickle.load`` would call."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_plain_values_come_back_as_they_were(tmp_path, protocol):
    path = tmp_path / "plain.pkl"
    path.write_bytes(pickle.dumps(PLAIN, protocol))
    found = read_pickle(path)
    np.testing.assert_array_equal(found["array"], PLAIN["array"])
    assert found["names"].tolist() == ["a", "b"]
    assert (found["number"], found["rest"]) == (0.5, PLAIN["rest"])


@pytest.mark.parametrize(
    ("call", "arguments", "named"),
    [
        (os.system, ("touch {marker}",), r"posix\.system"),
        (eval, ("open('{marker}', 'w')",), r"builtins\.eval"),
        (exec, ("open('{marker}', 'w')",), r"builtins\.exec"),
        (getattr, (1, "real"), r"builtins\.getattr"),
        (np.load, ("{marker}",), r"numpy.*load"),
    ],
)
@pytest.mark.parametrize("deep", [False, True])
def test_what_could_run_code_is_named_and_not_run(tmp_path, call, arguments, named, deep):
    marker, path = tmp_path / "ran", tmp_path / "hostile.pkl"
    shaped = [a.format(marker=marker) if isinstance(a, str) else a for a in arguments]
    content = Runs(call, *shaped)
    path.write_bytes(pickle.dumps({"train": [content]} if deep else content))
    with pytest.raises(RuntimeError, match=rf"could run code of others .* {named}"):
        read_pickle(path)
    assert not marker.exists()


@pytest.mark.parametrize("content", [b"", b"not a pickle", pickle.dumps(PLAIN)[:-20]])
def test_a_broken_pickle_is_one_sentence(tmp_path, content):
    path = tmp_path / "broken.pkl"
    path.write_bytes(content)
    with pytest.raises(RuntimeError, match=r"is not read, .* Fetch it again from its publishers"):
        read_pickle(path)


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_pickle(tmp_path / "nothing.pkl")
