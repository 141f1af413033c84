"""LoRA adapters: small additions to a model's matrices, each for the requests that name it."""
