"""`python -m crossette`: the same commands as `crossette`."""

from crossette.cli import main

main()
