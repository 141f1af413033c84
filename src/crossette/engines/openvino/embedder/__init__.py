"""Embedding models on the plain runtime of OpenVINO."""
