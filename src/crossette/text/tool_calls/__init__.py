"""Tool calling: tools in prompts, the call formats of model families, and the grammars that enforce them."""
