"""`python -m enxuto`: the command line."""

from enxuto.cli import main

main()
