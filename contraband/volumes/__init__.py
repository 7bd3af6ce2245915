"""One volume: its settings, its line of stages, its run, its reports."""
