"""Real parts for the end-to-end tests and for `make run`: nginx as it is shipped, images, clients.

What the benchmarks start, too, is in testkit-py/. Only Python's standard library. Everything a part writes
lies below one temporary folder, every port is on the loopback, and every process ends with the Python process
that started it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "testkit-py"))
