"""From affinities to the fragments of a block: heights, steps, links, labels."""
