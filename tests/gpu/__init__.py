"""Checks that need a GPU, with one table of what they found; on a CPU they try themselves."""
