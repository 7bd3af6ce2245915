"""Blocks on Dask workers: the driver's side (executor and what it asks) and the worker's."""
