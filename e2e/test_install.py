"""`make install` and `make uninstall` in a folder: what is the administrator's stays as it is."""

import os
import tempfile
import unittest
from pathlib import Path

from harness.stack import ROOT
from testkit.process import must

SITES = ["registry", "registry-v1"]


def make(target: str, folder: str) -> None:
    # Not what a make around this one was given.
    environment = {name: value for name, value in os.environ.items()
                   if not name.startswith(("MAKE", "MFLAGS"))}
    must(["make", "-C", ROOT, "NO_INSTALL=1", target, f"DESTDIR={folder}"], env=environment)


class Install(unittest.TestCase):
    """With what `make` has built."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="registry-auth-install-")
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        make("install", self.folder)

    def test_the_sites_are_installed_once_and_never_overwritten(self):
        for name in SITES:
            site = Path(self.folder, "etc/nginx/sites-available", name)
            shipped = (ROOT / "nginx/sites-available" / name).read_text(encoding="ascii")
            self.assertEqual(site.read_text(encoding="ascii"), shipped)
            site.write_text("# the administrator's\n", encoding="ascii")
        proxy = Path(self.folder, "etc/nginx/registry-auth/proxy.conf")
        proxy.write_text("# of the last version\n", encoding="ascii")
        make("install", self.folder)
        for name in SITES:
            site = Path(self.folder, "etc/nginx/sites-available", name)
            self.assertEqual(site.read_text(encoding="ascii"), "# the administrator's\n")
        self.assertEqual(proxy.read_text(encoding="ascii"),
                         (ROOT / "nginx/proxy.conf").read_text(encoding="ascii"))
        self.assertFalse(Path(self.folder, "etc/nginx/sites-enabled").exists(), "nothing is turned on")

    def test_uninstall_leaves_the_sites_and_what_else_is_the_administrators(self):
        for name in ["key.pem", "own.conf"]:
            Path(self.folder, "etc/nginx/registry-auth", name).write_text("mine\n", encoding="ascii")
        make("uninstall", self.folder)
        left = {str(path.relative_to(self.folder)) for path in Path(self.folder).rglob("*") if path.is_file()}
        own = {f"etc/nginx/registry-auth/{name}" for name in ["key.pem", "own.conf"]}
        self.assertEqual(left, own | {f"etc/nginx/sites-available/{name}" for name in SITES})


if __name__ == "__main__":
    unittest.main()
