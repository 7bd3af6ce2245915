"""Edges between fragments, and how they are merged: the whole graph, chains, boxes."""
