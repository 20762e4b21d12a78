"""Read the files of a store only where they are regular: a device or a pipe may have no end."""

import os
import stat
from pathlib import Path


def open_regular(path: Path) -> int:
    """Return a descriptor for reading a regular file, or a link to one.

    Raises:
        OSError: It cannot be opened, or is something else.
    """
    # A pipe that nobody writes to would let a blocking call wait for ever.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    # Asked of what is open: what has the name may be exchanged between two calls.
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path.name} is no regular file")
    return descriptor


def read_regular(path: Path, most: int) -> bytes:
    """Return the bytes of a regular file, or of a link to one.

    Args:
        path: The file.
        most: How many bytes it may have.

    Raises:
        OSError: It cannot be read, is something else, or is larger.
    """
    with open(open_regular(path), "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > most:
            raise OSError(
                f"{path.name} has {size} bytes, and none is written with more than {most}"
            )
        return file.read(size)
