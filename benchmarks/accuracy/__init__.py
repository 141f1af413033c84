"""How far what is served is from what a GGUF file says: see `scripts/bench-accuracy`."""
