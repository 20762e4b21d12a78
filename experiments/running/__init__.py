"""What the programs in ``experiments/`` share; none of it is a program."""
