"""Volumes on disk: zarr arrays with their place in the world, flushed before they count, described for others."""
