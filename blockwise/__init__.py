"""Exact blockwise processing of image volumes: schedule, run, remember, segment, evaluate."""
