"""Every method has a card, all with the same headings, and the code on it constructs the method."""

import re
from pathlib import Path

import pytest

from inforeg_lightning import callbacks

DOCS = Path(__file__).parents[2] / "docs"
CARDS = sorted((DOCS / "methods").glob("*.md"))
HEADINGS = [
    "What it does",
    "Use",
    "Suggested hyperparameters",
    "What it costs",
    "When it helps",
    "When it harms",
    "Differences from the authors' code",
]
CLASSES = sorted(set(callbacks.__all__) - {"MethodCallback", "report_unimodal"})
every_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.stem)


def test_every_method_has_a_card_and_a_line_of_the_table():
    page = (DOCS / "methods.md").read_text()
    linked = dict(re.findall(r"^\| \[`(\w+)`\]\(methods/(\w+)\.md\)", page, re.MULTILINE))
    assert sorted(linked) == CLASSES
    assert sorted(linked.values()) == [card.stem for card in CARDS]
    for name, card in linked.items():
        module = getattr(callbacks, name).__module__
        assert module == f"inforeg_lightning.callbacks.{card}"


@every_card
def test_it_has_the_headings_that_all_cards_have(card):
    text = card.read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS
    assert re.match(r"# .+ \(.+\)\n", text)


@every_card
def test_its_code_constructs_the_method(card):
    use = card.read_text().split("## Use\n")[1].split("\n## ")[0]
    (code, *_) = re.findall(r"^```python\n(.*?)^```", use, re.MULTILINE | re.DOTALL)
    inside: dict[str, object] = {}
    exec(compile(code, card.name, "exec"), inside)
    made = [value for value in inside.values() if isinstance(value, callbacks.MethodCallback)]
    assert made or "Greedy" in code
