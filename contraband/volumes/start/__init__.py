"""From an image that nobody has labelled to a settings file and a first segmentation: `contraband start`."""
