"""Merging the region graph: at once, or in boxes side by side."""
