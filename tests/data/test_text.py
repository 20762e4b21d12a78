"""Words of a text, and their indices by a vocabulary."""

import pytest

from inforeg_lightning.data.loading.text import Vocabulary, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's a trap!", ["it's", "a", "trap", "!"]),
        ("straße 99,5 %", ["straße", "99", ",", "5", "%"]),
        ("snake_case\n\tΑΒΓ", ["snake", "_", "case", "αβγ"]),
        ("", []),
    ],
)
def test_words_are_in_lower_case_and_signs_are_words(text, words):
    assert words_of(text) == words


def test_the_most_frequent_words_come_first_and_ties_by_the_alphabet():
    known = Vocabulary(["b b c a", "a b d"], size=5)
    assert known.index == {"b": 2, "a": 3, "c": 4}
    assert len(known) == 5
    assert known.encode(["a d b", "", "b b b b"], 3).tolist() == [[3, 1, 2], [0, 0, 0], [2, 2, 2]]


def test_a_vocabulary_without_room_is_an_error():
    with pytest.raises(ValueError, match="at least 3 indices, got 2"):
        Vocabulary(["a"], 2)
