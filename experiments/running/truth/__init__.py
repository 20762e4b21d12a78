"""Worlds whose answer is known, the oracle that knows it, and how a diagnosis is judged by it."""
