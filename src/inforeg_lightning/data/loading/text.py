"""Text as the indices of its words, by a vocabulary that is made of the training split alone."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

PADDING, UNKNOWN = 0, 1
"""Indices of what is no word, and of a word that is not in the vocabulary."""

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*|[^\w\s]|_")


def words_of(text: str) -> list[str]:
    """The words of a text in lower case; a sign is a word of its own."""
    return _WORD.findall(text.lower())


class Vocabulary:
    """The most frequent words of some texts; of equally frequent ones the first in the alphabet.

    Args:
        texts: Those of the training split.
        size: Number of indices, those of padding and of unknown words among them.

    Raises:
        ValueError: ``size`` leaves no room for a word.
    """

    def __init__(self, texts: Iterable[str], size: int) -> None:
        if size < 3:
            raise ValueError(f"a vocabulary must have at least 3 indices, got {size}")
        counts = Counter(word for text in texts for word in words_of(text))
        ranked = sorted(counts, key=lambda word: (-counts[word], word))
        self.index = {word: place for place, word in enumerate(ranked[: size - 2], start=2)}

    def __len__(self) -> int:
        return len(self.index) + 2

    def encode(self, texts: Sequence[str], length: int) -> NDArray[np.int64]:
        """The indices of the first words of each text, padded behind: int64 ``(N, length)``."""
        found = np.full((len(texts), length), PADDING, np.int64)
        for row, text in zip(found, texts, strict=True):
            words = words_of(text)[:length]
            row[: len(words)] = [self.index.get(word, UNKNOWN) for word in words]
        return found
