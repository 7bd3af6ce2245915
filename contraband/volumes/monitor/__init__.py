"""How far a run is: facts from its store and from the run itself, on a page, for Prometheus and for a terminal."""
