"""The endpoints of embedding models."""
