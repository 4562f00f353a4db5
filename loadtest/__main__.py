"""What can be done with load tests beyond running one: python -m loadtest --help."""

import sys

from loadtest.command import main

sys.exit(main())
