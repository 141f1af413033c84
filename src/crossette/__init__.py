"""crossette: an OpenAI-compatible server for open models you run yourself."""

from importlib.metadata import version

__version__ = version("crossette")
