"""Experiments on disk: param_dict.json, grids of trainings, their folders, their scores."""
