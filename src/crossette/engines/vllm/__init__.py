"""The engine of a vLLM server: token ids in and out, over HTTP."""
