"""Scores against true objects: volumes of labels, or skeletons."""
