"""Whether a finished run is what one block would have given."""
