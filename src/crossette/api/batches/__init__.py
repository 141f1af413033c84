"""Batches: requests of a file that run behind live traffic."""
