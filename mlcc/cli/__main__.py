"""`python -m mlcc.cli`."""

from mlcc.cli import main

main()
