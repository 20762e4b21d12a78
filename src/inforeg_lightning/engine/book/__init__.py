"""What is kept of a training: state, sums of a period, traces and history."""
