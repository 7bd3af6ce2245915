"""A made-up tissue, computed from place and seed."""
