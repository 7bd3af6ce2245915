"""Volumes of other programs, read into zarr."""
