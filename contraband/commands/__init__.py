"""The commands of `contraband`, by what they work on."""
