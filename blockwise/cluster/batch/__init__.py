"""Workers that are jobs of a batch system: their scripts, what the queue says of them, who keeps them up."""
