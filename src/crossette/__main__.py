"""`python -m crossette`: the same commands as `crossette`."""

from crossette.cli.main import main

main()
