"""Names of folders and of clips: which can be used, and how others are written in messages."""

import os
import unicodedata
from pathlib import Path


def folder_argument(name: str, value: str | os.PathLike[str]) -> Path:
    """Return the folder that an argument names.

    Raises:
        ValueError: It is empty, which would be the working folder, or no path.
    """
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        raise ValueError(f"{name} must be a folder, got {value!r}")
    return Path(value)


def name_problem(name: str) -> str:
    """Say why a name cannot be stored; empty if it can.

    File systems allow names that are no UTF-8, which Python holds as lone surrogates, and line
    breaks and other control characters; an index of lines of text cannot hold them safely.
    """
    if all(map(_plain, name)):
        return ""
    return "its name has control characters, or bytes that are no UTF-8; rename the file"


def printable(text: str) -> str:
    r"""Return the text with what cannot be printed or encoded as an escape such as ``\x0d``."""
    return "".join(c if _plain(c) else _escaped(c) for c in text)


def _plain(character: str) -> bool:
    # Neither a control character, nor a line or paragraph separator, nor a surrogate.
    return unicodedata.category(character) not in ("Cc", "Zl", "Zp", "Cs")


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code < 0xDD00:  # a byte that is no UTF-8, as os.fsdecode() hides it
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
