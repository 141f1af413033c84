"""How many JSON Schemas of a file are served: see `scripts/schemas`."""
