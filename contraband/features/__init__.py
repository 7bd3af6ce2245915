"""Features of voxels that need no training."""
