"""Ways to spoil the bytes of a file, each a function of a random generator."""

from collections.abc import Callable, Mapping

import numpy as np

Rng = np.random.Generator
_EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)


def flip(content: bytes, rng: Rng, bits: int = 1) -> bytes:
    """Turn some bits over."""
    spoilt = bytearray(content)
    for place in rng.integers(8 * len(content), size=bits).tolist():
        spoilt[place // 8] ^= 1 << place % 8
    return bytes(spoilt)


def cut(content: bytes, rng: Rng) -> bytes:
    """Keep the beginning only."""
    return content[: int(rng.integers(len(content)))]


def extend(content: bytes, rng: Rng) -> bytes:
    """Put something behind it."""
    return content + rng.bytes(int(rng.integers(1, 5000)))


def precede(content: bytes, rng: Rng) -> bytes:
    """Put something before it."""
    return rng.bytes(int(rng.integers(1, 500))) + content


def blank(content: bytes, rng: Rng) -> bytes:
    """Set a block to zero, as a disk does that was full or cut off."""
    start, end = _block(content, rng)
    return content[:start] + bytes(end - start) + content[end:]


def scramble(content: bytes, rng: Rng) -> bytes:
    """Set a block to anything."""
    start, end = _block(content, rng)
    return content[:start] + rng.bytes(end - start) + content[end:]


def drop(content: bytes, rng: Rng) -> bytes:
    """Take a block out."""
    start, end = _block(content, rng)
    return content[:start] + content[end:]


def repeat(content: bytes, rng: Rng) -> bytes:
    """Put a block there twice."""
    start, end = _block(content, rng)
    return content[:end] + content[start:end] + content[end:]


def swap(content: bytes, rng: Rng) -> bytes:
    """Exchange the two halves around a random place."""
    place = int(rng.integers(len(content)))
    return content[place:] + content[:place]


def extreme(content: bytes, rng: Rng) -> bytes:
    """Set a number of the header to one that no file has."""
    width = int(rng.choice([1, 2, 4]))
    place = int(rng.integers(max(min(len(content), 400) - width, 1)))
    value = int(rng.choice(_EXTREMES)) & (256**width - 1)
    order = "little" if rng.random() < 0.5 else "big"
    return content[:place] + value.to_bytes(width, order) + content[place + width :]


def garbage(content: bytes, rng: Rng) -> bytes:
    """Bytes without meaning, behind the first few."""
    return content[: int(rng.integers(0, 40))] + rng.bytes(int(rng.integers(0, 20_000)))


def nothing(content: bytes, rng: Rng) -> bytes:
    """An empty file."""
    return b""


ANY: Mapping[str, Callable[[bytes, Rng], bytes]] = {
    "flip": flip,
    "flip 8": lambda content, rng: flip(content, rng, 8),
    "flip 100": lambda content, rng: flip(content, rng, 100),
    **{
        way.__name__: way
        for way in (
            cut, extend, precede, blank, scramble, drop, repeat, swap, extreme, garbage, nothing
        )
    },
}  # fmt: skip
"""Name -> way; each gives other bytes for the same content and another state of the generator."""


def spoil(content: bytes, rng: Rng) -> tuple[str, bytes]:
    """A way drawn at random, by its name, and what it makes."""
    name = str(rng.choice(list(ANY)))
    return name, ANY[name](content, rng)


def _block(content: bytes, rng: Rng) -> tuple[int, int]:
    start = int(rng.integers(len(content)))
    return start, min(len(content), start + int(rng.integers(1, max(len(content) // 3, 2))))
