"""Side by side with what a user would pick instead: `make bench`.

A development tool: it runs from a checkout and borrows the tests' lab.
"""

import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent

sys.path.insert(0, str(ROOT / "tests"))  # for tests/support
