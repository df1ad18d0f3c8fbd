"""``python -m narke`` is the command ``narke``."""

import sys

from narke._cli import main

sys.exit(main())
