"""``python -m scalelab``."""

from scalelab.cli import main

if __name__ == "__main__":
    main()
