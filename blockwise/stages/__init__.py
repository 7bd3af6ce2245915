"""The stages from stored affinities to scores, one file each, in the order of the line."""
