"""Heads that learn from a few labelled voxels in a moment, a forest and a logistic regression, and their features."""
