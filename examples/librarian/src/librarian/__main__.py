"""`python -m librarian` is the same as the `librarian` command."""

import sys

from librarian.cli import main

if __name__ == "__main__":
    sys.exit(main())
