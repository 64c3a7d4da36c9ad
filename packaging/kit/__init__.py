"""What the programs of packaging/ share: Debian systems to build and try packages in.

Only Python's standard library, and what the end-to-end tests have: they make systems, too.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "e2e"), str(ROOT / "testkit-py")]
