"""Several real registries of one user: pushes and pulls of images of many layers by real clients, and the
catalogue of them all.

Without balance=repository each push fails where each has a storage of its own, and most where they share one.
"""

import json
import re
import unittest

from harness import client
from harness.case import StackCase
from harness.wire import Wire
from testkit.registry import Registry

# Six layers, and the configuration: seven uploads of three or more requests.
LAYERS = [{f"layer{number}.txt": f"layer {number}\n".encode() * 1_000} for number in range(6)]
PUSHES = 6


class _Several(StackCase):
    """alice has two registries more, and none of the stack's."""

    shared = False

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        storage = cls.stack.directory / "shared" if cls.shared else None
        cls.several = []
        for name in ("one", "two"):
            # A random secret each, as the registry makes one where none is configured.
            registry = Registry(cls.stack.directory / f"registry-{name}", name, storage=storage, secret=None)
            cls.addClassCleanup(registry.stop)
            cls.several.append(registry)
        cls.stack.tool("backend", "set", "alice", *(registry.address for registry in cls.several))

    def _home(self, repository):
        """The address of the registry that the tool names."""
        said = self.stack.tool("--json", "explain", "--user", "alice", "--action", "push", repository)
        return json.loads(said)["backend"]

    def _pushes_and_pulls(self, kind):
        pushed = []
        used = kind(self.stack, self.stack.directory / f"client-{kind.name}", LAYERS)
        try:
            done = used.login("alice", self.stack.passwords["alice"])
            self.assertEqual(done.returncode, 0, done.stdout)
            for number in range(PUSHES):
                repository = f"alice/{kind.name}{number}"
                done = used.push(repository)
                self.assertEqual(done.returncode, 0, f"push {number}: {done.stdout}")
                before = self._digest(repository)
                done = used.pull(repository)
                self.assertEqual(done.returncode, 0, f"pull {number}: {done.stdout}")
                if kind is client.Skopeo:
                    index = json.loads((used.directory / "pulled" / "index.json").read_text())
                    self.assertEqual(index["manifests"][0]["digest"], before)
                if kind is client.Docker:
                    self.assertIn(before, done.stdout)
                pushed.append(repository)
        finally:
            used.close()
        return pushed

    def _digest(self, repository):
        wire = Wire(self.stack, "alice")
        accept = ("application/vnd.oci.image.manifest.v1+json, "
                  "application/vnd.docker.distribution.manifest.v2+json")
        answer = wire("HEAD", f"/v2/{repository}/manifests/latest", headers={"Accept": accept})
        self.assertEqual(answer.status, 200, answer)
        return answer.header("docker-content-digest")[0]

    def _lists(self, repositories):
        """The catalogue has all of them, in pages too."""
        wire, names, target = Wire(self.stack, "alice"), [], "/v2/_catalog?n=4"
        while target:
            answer = wire("GET", target)
            self.assertEqual(answer.status, 200, answer)
            names += json.loads(answer.body)["repositories"]
            links = answer.header("link")
            target = links and re.fullmatch(r'<([^>]+)>; rel="next"', links[0]).group(1)
        self.assertEqual(names, sorted(set(names)))
        self.assertLessEqual(set(repositories), set(names))

    def _lie_where_they_should(self, repositories):
        for repository in repositories:
            for registry in self.several:
                is_there = repository in registry.repositories()
                self.assertEqual(is_there, self.shared or registry.address == self._home(repository),
                                 repository)

    def _works(self, kind):
        pushed = self._pushes_and_pulls(kind)
        self._lists(pushed)
        self._lie_where_they_should(pushed)

    def test_skopeo(self):
        self._works(client.Skopeo)

    def test_podman(self):
        self._works(client.Podman)

    def test_docker(self):
        self._works(client.Docker)


class SeparateStorage(_Several):
    """Each has a storage of its own."""

    def test_both_have_some(self):
        names = [f"alice/some{number}" for number in range(12)]
        homes = {self._home(name) for name in names}
        self.assertEqual(homes, {registry.address for registry in self.several})

    def test_a_mount_from_the_other_one_becomes_an_upload(self):
        wire = Wire(self.stack, "alice")
        names = [f"alice/mount{number}" for number in range(12)]
        source = names[0]
        target = next(name for name in names if self._home(name) != self._home(source))
        digest = wire.push_blob(source, b"a blob to be mounted")
        answer = wire("POST", f"/v2/{target}/blobs/uploads/?mount={digest}&from={source}",
                      headers={"Content-Length": "0"})
        self.assertEqual(answer.status, 202, answer)
        near = next(name for name in names[1:] if self._home(name) == self._home(source))
        answer = wire("POST", f"/v2/{near}/blobs/uploads/?mount={digest}&from={source}",
                      headers={"Content-Length": "0"})
        self.assertEqual(answer.status, 201, answer)


class SharedStorage(_Several):
    """Both have one storage, and each a random secret."""

    shared = True


del _Several

if __name__ == "__main__":
    unittest.main()
