"""`python -m textxfer` is the command `textxfer`."""

import sys

from textxfer.cli import main

sys.exit(main())
