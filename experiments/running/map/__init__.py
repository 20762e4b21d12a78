"""A map of small worlds: where each remedy helps or harms, and where a model lies on it."""
