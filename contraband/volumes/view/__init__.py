"""A run in the browser: its arrays, and its segments at any threshold, read as they are looked at."""
