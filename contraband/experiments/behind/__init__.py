"""The training of a network behind a labelling session, in a process of its own: see `contraband.label.behind`."""
