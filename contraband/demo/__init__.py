"""A made-up volume, taken through the whole line."""
