"""The method on plain tensors and numbers: scores, strength, trace, window, regulation.

Imports torch only, never lightning.
"""
