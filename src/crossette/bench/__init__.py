"""Closed-loop streaming load against any OpenAI-compatible server. It knows nothing of our own server."""

from crossette.bench.load import run_bench
from crossette.bench.options import BenchOptions, parse_concurrency
from crossette.bench.report import BenchReport, LevelSummary

__all__ = ["BenchOptions", "BenchReport", "LevelSummary", "parse_concurrency", "run_bench"]
