"""What a GGUF file holds, tensor by tensor."""
