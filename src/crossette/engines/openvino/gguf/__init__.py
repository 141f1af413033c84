"""Read GGUF files and build OpenVINO graphs from them."""
