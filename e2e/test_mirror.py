"""containerd with the gate as the mirror of another registry: it names that one in the query (`?ns=`), which
no backend sees."""

import unittest

from harness import client
from harness.case import StackCase
from harness.client import GREETING
from harness.wire import Wire

MIRRORED = "mirrored.example"


class Mirror(StackCase):
    """Images of a registry that is not there, which the gate has."""

    def test_ns_stays_here_unless_it_may_pass(self):
        Wire(self.stack, "alice").push_image("alice/app", GREETING)
        ctr = client.Ctr(self.stack, self.stack.directory / "ctr")
        self.addCleanup(ctr.close)
        folder = self.stack.directory / "mirrors"
        hosts = folder / MIRRORED
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(
            f'server = "https://{MIRRORED}"\n\n[host."https://{self.stack.address}"]\n'
            f'ca = "{self.stack.certificates}/ca.crt"\ncapabilities = ["pull", "resolve"]\n',
            encoding="ascii")

        def pull():
            """Pulls, and returns what the registry has logged."""
            done = ctr.call("images", "pull", "--hosts-dir", folder,
                            "--user", f"alice:{self.stack.passwords['alice']}",
                            f"{MIRRORED}/alice/app:latest")
            self.assertEqual(done.returncode, 0, done.stdout)
            return self.stack.registries["alice"].process.log_text(1_000_000)

        seen = pull()
        self.assertIn(f"?ns={MIRRORED}", self.stack.nginx.access_log())
        self.assertIn("/v2/alice/app/manifests/", seen)
        self.assertNotIn(MIRRORED, seen)
        server = self.stack.configuration / "registry.conf"
        server.write_text(server.read_text().replace('registry_auth "Registry";',
                                                     'registry_auth "Registry"; registry_auth_ns pass;'))
        before = self.stack.nginx.workers()
        self.stack.nginx.reload()
        self.stack.nginx.await_new_workers(before)
        self.assertIn(f"ns={MIRRORED}", pull())


if __name__ == "__main__":
    unittest.main()
