"""crossette: the OpenAI API, answered by open models you run yourself."""

from importlib.metadata import version

__version__ = version("crossette")
