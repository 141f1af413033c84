"""Measure the difference between served models and their GGUF files: see `scripts/bench-accuracy`."""
