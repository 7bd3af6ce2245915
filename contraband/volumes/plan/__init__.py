"""What a run will cost, before anything runs."""
