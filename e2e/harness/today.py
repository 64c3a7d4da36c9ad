"""Today's clients, from a Debian that is newer than this machine: what `make e2e-clients` makes first.

That is sid, where docker 28, podman 5.8, skopeo 1.22 and containerd 2.1 are. It moves on; the tests name the
versions that they ran. CLIENTS_MIRROR chooses where it comes from.
"""

import functools
import os
import shutil
import sys

from testkit.process import Failed

from . import debian
from .client import GREETING, Client
from .place import Root

SUITE = "sid"
PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "podman", "skopeo", "buildah", "containerd",
            "ca-certificates", "crane", "oras", "cosign")
CACHE = "/var/lib/containers/cache"
# Each of the two steps ends by then. On two cores that others kept busy they took 85 and 30 seconds.
SECONDS = 300
ATTEMPTS = 2


@functools.cache
def place():
    """The system, made if it is not there yet; raises Failed, which tells what to do about it."""
    return Root(debian.kept(f"clients-{SUITE}", (SUITE, PACKAGES), _make), f"Debian {SUITE}")


def kind(ancient):
    """The same client of harness.client (a class), of today."""
    return type(f"Todays{ancient.__name__}", (_Today, ancient), {})


class Crane(Client):
    """Of go-containerregistry, as ko and kaniko are. Its login asks nobody whether it is right."""

    name = "crane"

    def __init__(self, stack, directory, files=GREETING):
        super().__init__(stack, directory, files)
        # In the folder of DOCKER_CONFIG, below.
        self.auth = directory / "config.json"

    def environment(self):
        """It takes no certificates but the system's, or these."""
        return {**super().environment(), "DOCKER_CONFIG": str(self.directory),
                "SSL_CERT_FILE": f"{self.stack.certificates}/ca.crt"}

    def login(self, user, password):
        return self.call("crane", "auth", "login", self.stack.address,
                         "--username", user, "--password", password)

    def sign_out(self):
        return self.call("crane", "auth", "logout", self.stack.address)

    def push(self, repository):
        return self.call("crane", "push", self.archive, self.reference(repository))

    def pull(self, repository):
        return self.call("crane", "pull", self.reference(repository), self.directory / "pulled.tar")

    def copy(self, source, target):
        return self.call("crane", "copy", self.reference(source), self.reference(target))

    def sign(self, repository):
        """A signature by cosign, which finds its way as crane does; in a log of nobody's."""
        key = self.directory / "cosign.key"
        environment = {"env": {**self.environment(), "COSIGN_PASSWORD": ""}}
        if not key.exists():
            self.call("cosign", "generate-key-pair", "--output-key-prefix", self.directory / "cosign",
                      **environment)
        return self.call("cosign", "sign", "--yes", "--key", key, "--tlog-upload=false",
                         "--use-signing-config=false", self.reference(repository), **environment)

    def verify(self, repository):
        return self.call("cosign", "verify", "--key", self.directory / "cosign.pub",
                         "--insecure-ignore-tlog=true", self.reference(repository))


class Oras(Client):
    """Of oras-go, as helm is."""

    name = "oras"

    def login(self, user, password):
        return self.call("oras", "login", *self._options(), "--username", user, "--password-stdin",
                         self.stack.address, input=password)

    def sign_out(self):
        return self.call("oras", "logout", "--registry-config", self.auth, self.stack.address)

    def push(self, repository):
        """Not `oras copy`, which reads what it has pushed, and so needs the right to pull, too."""
        (self.directory / "hello.txt").write_bytes(GREETING["hello.txt"])
        return self.call("oras", "push", *self._options(), "--disable-path-validation",
                         self.reference(repository), self.directory / "hello.txt")

    def pull(self, repository):
        target = self.directory / "pulled"
        shutil.rmtree(target, ignore_errors=True)
        return self.call("oras", "copy", *self._options("from-"), "--to-oci-layout",
                         self.reference(repository), f"{target}:latest")

    def _options(self, side=""):
        return (f"--{side}registry-config", self.auth,
                f"--{side}ca-file", f"{self.stack.certificates}/ca.crt")


class _Today:
    """Runs in that system; skopeo, podman and buildah note in a folder of the test's where they saw a
    blob."""

    place = staticmethod(place)

    def mounts(self):
        cache = self.directory / "cache"
        cache.mkdir(exist_ok=True)
        return [*super().mounts(), (cache, CACHE)]


def _make(folder):
    at = debian.mirror("CLIENTS_MIRROR")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            debian.debootstrap(folder, SUITE, at, seconds=SECONDS)
            _install(folder)
            return
        except Failed as failed:
            print(f"The clients of Debian {SUITE}, attempt {attempt}: {failed}", file=sys.stderr, flush=True)
            shutil.rmtree(folder)
            folder.mkdir(mode=0o755)
    source = at[0] if at else "debootstrap's own mirror"
    raise Failed(f"no Debian {SUITE} with today's clients could be made from {source}; why, is above. "
                 "Try again, or choose another mirror, as a snapshot of last week's: "
                 "CLIENTS_MIRROR=http://snapshot.debian.org/archive/debian/20261101T000000Z")


def _install(folder):
    """By that system's apt and dpkg, inside of it: nothing of this machine's is touched."""
    (folder / "etc/dpkg/dpkg.cfg.d/unsafe-io").write_text("force-unsafe-io\n", encoding="ascii")
    services = folder / "usr/sbin/policy-rc.d"
    services.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    services.chmod(0o755)
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    # The tests mount folders of theirs there.
    for each in ("etc/docker", CACHE[1:]):
        (folder / each).mkdir(parents=True, exist_ok=True)
    debian.bounded(["sh", "-euc", 'mount -t proc none "$0/proc"; exec chroot "$0" "$@"', str(folder),
                    "apt-get", "-y", "--no-install-recommends", "-o", "Acquire::http::Timeout=30",
                    "-o", "Acquire::Retries=2", "install", *PACKAGES], SECONDS)
    debian.bounded(["chroot", str(folder), "apt-get", "clean"], SECONDS)


if __name__ == "__main__":
    # What `make e2e-clients` does first, so that minutes of it are not a test's.
    print(place().name)
