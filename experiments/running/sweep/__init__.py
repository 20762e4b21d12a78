"""A sweep over Optuna: what is searched, its trials, when one is given up, and what it shows."""
