"""Labelling in the browser: a few clicks, a quick head after each, and what it makes of the image at once."""
