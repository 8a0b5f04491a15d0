"""`python -m cozydrivers`."""

from cozydrivers.cli import main

main()
