"""Stages over blocks: what may run, what is done, what has changed, what has grown."""
