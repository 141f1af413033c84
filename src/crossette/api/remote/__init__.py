"""Requests that an upstream answers: their bodies, and its chunks as deltas."""
