"""Compiled functions on plain arrays: no files, no settings, and the same result for any cut of a volume."""
