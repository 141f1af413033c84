"""A streaming benchmark for any OpenAI-compatible server, independent of crossette's server."""

from crossette.client.bench.load import run_bench
from crossette.client.bench.options import BenchOptions, parse_concurrency
from crossette.client.bench.report import BenchReport, LevelSummary

__all__ = ["BenchOptions", "BenchReport", "LevelSummary", "parse_concurrency", "run_bench"]
