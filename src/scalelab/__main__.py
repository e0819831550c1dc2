"""`python -m scalelab`."""

from scalelab.cli import main

main()
