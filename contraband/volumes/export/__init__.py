"""The result of a run in formats that other programs open: OME-Zarr, TIFF, Neuroglancer precomputed, tables."""
