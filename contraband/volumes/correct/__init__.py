"""Corrections of a segmentation: pairs that must or must not be one object, kept beside the output, and applied."""
