"""Other programs for the same task, run on the same volume: `python -m tests.benchmarks.peers`."""
