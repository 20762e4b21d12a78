"""The method on plain tensors: scores, strength, Fisher trace, window, regulation (torch only)."""
