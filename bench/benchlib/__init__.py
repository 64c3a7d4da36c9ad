"""The benchmark of nginx registry auth: `bench/run` and its neighbours call it; README.md says how to read
it.

Processes, ports and Redis come from testkit-py/, which the end-to-end tests use, too.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "testkit-py"))
