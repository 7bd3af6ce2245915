"""Faults on purpose: planned ones for tests of the engine, and a matrix of points of death of whole runs.

`planned` is for the toy stages of the engine's own tests. The rest is `make faults`: `points` says where real
processes die, `seams` and `strike` make it happen inside them, `scenes` start them again, `__main__` compares.
"""
