"""Scores at every threshold from tables of shared voxels and skeletons."""
