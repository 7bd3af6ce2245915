"""Loaded by every Python process of a run whose PYTHONPATH leads here: the driver, and the workers it starts."""

from tests.faults.seams import arm

arm()
