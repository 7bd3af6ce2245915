"""Predictions that are means: over orientations of a network, over networks."""
