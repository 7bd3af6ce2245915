"""The Dask cluster: its settings, how it is opened or joined, and jobs of batch systems."""
