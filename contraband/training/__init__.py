"""One training: the loop, its state, its tasks and losses."""
