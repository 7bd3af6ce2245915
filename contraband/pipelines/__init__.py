"""Gunpowder pipelines: where samples come from, where they lie, what comes with them."""
