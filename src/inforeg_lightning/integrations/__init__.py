"""Fronts of loops that have callbacks of their own; any other loop calls the Regulator itself."""
