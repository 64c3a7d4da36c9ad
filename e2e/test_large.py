"""A layer of 200 MB there and back: nothing in between limits, spools or changes it."""

import os
import unittest

from harness import image
from harness.case import StackCase
from harness.client import Skopeo

SIZE = 200_000_000


class Large(StackCase):
    def test_push_and_pull(self):
        skopeo = Skopeo(self.stack, self.stack.directory / "skopeo")
        self.assertEqual(skopeo.login("alice", self.stack.passwords["alice"]).returncode, 0)
        layout = self.stack.directory / "large"
        layer = image.layout(layout, {"noise": os.urandom(SIZE)})
        pushed = skopeo.push("alice/large", layout)
        self.assertEqual(pushed.returncode, 0, pushed.stdout)
        spooled = [path for path in (self.stack.configuration / "temp").rglob("*") if path.is_file()]
        self.assertEqual(spooled, [])
        # skopeo checks each digest as it pulls.
        into = self.stack.directory / "large-again"
        pulled = skopeo.pull("alice/large", into)
        self.assertEqual(pulled.returncode, 0, pulled.stdout)
        again = into / "blobs" / "sha256" / layer.split(":")[1]
        self.assertGreater(again.stat().st_size, SIZE)
        # A file that was spooled to disk on the way is gone by now, but it would have been noticed in the
        # log.
        self.assertNotIn("is buffered to a temporary file", self.stack.nginx.error_log())


if __name__ == "__main__":
    unittest.main()
