"""Reading pickles of others: arrays and plain values, and never code.

A pickle may call whatever Python can import, so that opening one of a stranger runs his code.
Here it may call what makes NumPy arrays and plain values, and nothing else.
"""

import codecs
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: Any) -> NDArray[Any]:
    return np.frombuffer(buffer, dtype).reshape(shape, order=order)


# NumPy's own ways to make an array and a scalar, wherever this release keeps them.
_RECONSTRUCT, _SCALAR = (value.__reduce__()[0] for value in (np.zeros(1), np.float64(0)))
_ARRAYS = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (f"numpy.{core}.{file}", name): made
        for core in ("core", "_core")  # before and since NumPy 2
        for file, name, made in (
            ("multiarray", "_reconstruct", _RECONSTRUCT),
            ("multiarray", "scalar", _SCALAR),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}
_PLAIN = {
    # How protocol 2 writes bytes; "__builtin__" is what it calls "builtins".
    ("_codecs", "encode"): codecs.encode,
    **{
        (module, made.__name__): made
        for module in ("builtins", "__builtin__")
        for made in (bytes, bytearray, set, frozenset, complex)
    },
}
_ADMITTED: dict[tuple[str, str], Any] = {**_ARRAYS, **_PLAIN}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"it asks for {module}.{name}, which is neither a NumPy array nor a plain value"
            ) from None


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """Read a pickle that holds NumPy arrays, numbers, texts, lists, tuples, sets and dicts alone.

    Args:
        path: The file.

    Returns:
        What it holds.

    Raises:
        FileNotFoundError: There is no such file.
        RuntimeError: It asks for anything else, by name, or is no whole pickle; what to do.
    """
    with Path(path).open("rb") as file:
        try:
            return _Unpickler(file).load()
        except OSError:
            raise
        # Broken bytes may raise anything in the constructors above.
        except Exception as error:
            raise RuntimeError(
                f"{path} is not read, because opening it could run code of others or it is broken: "
                f"{error} ({type(error).__name__}). Fetch it again from its publishers; if you "
                "made it, write it again with NumPy arrays, numbers and texts alone"
            ) from error
