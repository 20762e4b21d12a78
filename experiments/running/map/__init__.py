"""A map of small worlds: where each remedy helps and where it harms, and where a model lies on it."""
