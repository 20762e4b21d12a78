"""What a run writes down of the places of its data: a URL without the password in it."""

from collections.abc import Iterable
from typing import Any


def public(node: Any) -> Any:
    """Plain data with every URL in it as it may be stored and shown."""
    from inforeg_lightning.data.shards import shown

    if isinstance(node, dict):
        return {key: public(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(public(value) for value in node)
    return shown(node) if isinstance(node, str) else node


def public_overrides(overrides: Iterable[str]) -> tuple[str, ...]:
    """Overrides of the command line as they may be stored and shown."""
    split = (override.partition("=") for override in overrides)
    return tuple(key + equals + public(value) for key, equals, value in split)


def public_text(text: str, overrides: Iterable[str]) -> str:
    """A text made of the values of overrides, as it may be stored and shown."""
    for override in overrides:
        value = override.partition("=")[2]
        if value and value != public(value):
            text = text.replace(value, public(value))
    return text
