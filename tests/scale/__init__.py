"""The line on synthetic volumes of growing size, and what larger ones will need: `make scale`."""
