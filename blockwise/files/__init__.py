"""Files and folders: whole or not there, and held by one process at a time."""
