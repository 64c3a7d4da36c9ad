"""`make install` into a folder: what is the administrator's stays as it is."""

import os
import tempfile
import unittest
from pathlib import Path

from harness.process import must
from harness.stack import ROOT


class Install(unittest.TestCase):
    """With what `make` has built."""

    def test_the_site_is_installed_once_and_never_overwritten(self):
        with tempfile.TemporaryDirectory(prefix="registry-auth-install-") as folder:
            # Not what a make around this one was given.
            environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
            install = ["make", "-C", ROOT, "NO_INSTALL=1", "install", f"DESTDIR={folder}"]
            must(install, env=environment)
            site = Path(folder, "etc/nginx/sites-available/registry")
            shipped = (ROOT / "nginx/sites-available/registry").read_text(encoding="ascii")
            self.assertEqual(site.read_text(encoding="ascii"), shipped)
            site.write_text("# the administrator's\n", encoding="ascii")
            proxy = Path(folder, "etc/nginx/registry-auth/proxy.conf")
            proxy.write_text("# of the last version\n", encoding="ascii")
            must(install, env=environment)
            self.assertEqual(site.read_text(encoding="ascii"), "# the administrator's\n")
            self.assertEqual(proxy.read_text(encoding="ascii"), (ROOT / "nginx/proxy.conf").read_text(encoding="ascii"))
            self.assertFalse(Path(folder, "etc/nginx/sites-enabled").exists(), "nothing is turned on")


if __name__ == "__main__":
    unittest.main()
