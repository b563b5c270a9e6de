"""`python -m skipstone`, for where no `skipstone` is on the path."""

import sys

from skipstone.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
