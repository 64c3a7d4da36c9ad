"""The real clients, each behind the same few verbs. Every one keeps its state in a folder of its own.

They run in a mount namespace (harness.place) whose /etc/hosts knows the test's host name, so that they check
the certificate of a real name.
"""

import base64
import json
import os
import shutil

from testkit.process import run

from . import image
from .daemon import Containerd, Dockerd
from .place import Here

# What every test image holds; `pulled` looks for it.
GREETING = {"hello.txt": b"hello from the end-to-end test\n"}


class Client:
    """What all have in common. `stack` is a started Stack, `directory` (a Path) is made, `files` are in the
    image to push.

    The verbs take `repository` ("alice/app") and return a finished process: returncode, and stdout with both
    streams. `layout` and `archive` hold one image in two formats, tagged `latest`."""

    name = ""
    # Called once a client is made: a system may have to be made first.
    place = Here

    def __init__(self, stack, directory, files=GREETING):
        self._place = self.place()
        # Where the certificates are, too.
        self._visible = directory.parent
        directory.mkdir()
        self.stack = stack
        self.directory = directory
        self.archive = directory / "image.tar"
        self.layout = directory / "layout"
        image.archive(self.archive, files, [self.reference("alice/loaded")])
        image.layout(self.layout, files)
        self._hosts = directory / "hosts"
        self._hosts.write_text(f"127.0.0.1 localhost\n127.0.0.1 {stack.address.split(':')[0]}\n",
                               encoding="ascii")
        self.auth = directory / "auth.json"

    def reference(self, repository):
        return f"{self.stack.address}/{repository}:latest"

    def environment(self):
        return {**os.environ, "HOME": str(self.directory)}

    def call(self, *words, seconds=120, **options):
        """Runs the client with `words` in its namespace."""
        entered = self._place.enter(self._visible, *self.mounts())
        return run([*entered, *map(str, words)], seconds, **{"env": self.environment(), **options})

    def mounts(self):
        """(what, over what) of each file and folder that the client finds in another's place."""
        return [(self._hosts, "/etc/hosts")]

    def remember(self, user, password):
        """Has the client find these credentials as if a login had stored them, right or wrong."""
        auth = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.auth.write_text(json.dumps({"auths": {self.stack.address: {"auth": auth}}}), encoding="ascii")

    def logout(self):
        """Forgets all credentials."""
        self.auth.unlink(missing_ok=True)

    def close(self):
        """Ends what the client keeps running."""


class Skopeo(Client):
    name = "skopeo"

    def login(self, user, password):
        return self.call("skopeo", "login", "--cert-dir", self.stack.certificates, "--authfile", self.auth,
                         "--username", user, "--password-stdin", self.stack.address, input=password)

    def push(self, repository, layout=None):
        return self.call("skopeo", "--insecure-policy", "copy", "--authfile", self.auth,
                         "--dest-cert-dir", self.stack.certificates,
                         f"oci:{layout or self.layout}:latest", f"docker://{self.reference(repository)}")

    def pull(self, repository, into=None):
        target = into or self.directory / "pulled"
        shutil.rmtree(target, ignore_errors=True)
        return self.call("skopeo", "--insecure-policy", "copy", "--authfile", self.auth,
                         "--src-cert-dir", self.stack.certificates,
                         f"docker://{self.reference(repository)}", f"oci:{target}:latest")

    def delete(self, repository):
        return self.call("skopeo", "delete", "--authfile", self.auth, "--cert-dir", self.stack.certificates,
                         f"docker://{self.reference(repository)}")

    def inspect_with(self, token, repository):
        """With a Bearer token alone: no user, no login."""
        return self.call("skopeo", "inspect", "--no-tags", "--registry-token", token, "--cert-dir",
                         self.stack.certificates, f"docker://{self.reference(repository)}")

    def tags(self, repository):
        return self.call("skopeo", "list-tags", "--authfile", self.auth, "--cert-dir",
                         self.stack.certificates,
                         f"docker://{self.stack.address}/{repository}")


    def sign_out(self):
        """Its own command for it, as users type it. (logout() needs no login to succeed.)"""
        return self.call("skopeo", "logout", "--authfile", self.auth, self.stack.address)


class _Containers(Client):
    """What podman and buildah share: storage and options below the client's folder, whatever the machine is
    set to."""

    def environment(self):
        containers = self.directory / "containers.conf"
        containers.write_text('[engine]\nlock_type = "file"\nevents_logger = "none"\n'
                              f'tmp_dir = "{self.directory}/tmp"\nstatic_dir = "{self.directory}/libpod"\n'
                              f'volume_path = "{self.directory}/volumes"\n', encoding="ascii")
        storage = self.directory / "storage.conf"
        storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{self.directory}/storage"\n'
                           f'runroot = "{self.directory}/run"\n', encoding="ascii")
        return {**super().environment(), "CONTAINERS_CONF": str(containers),
                "CONTAINERS_STORAGE_CONF": str(storage)}

    def login(self, user, password):
        return self.call(self.name, "login", "--cert-dir", self.stack.certificates, "--authfile", self.auth,
                         "--username", user, "--password-stdin", self.stack.address, input=password)

    def sign_out(self):
        return self.call(self.name, "logout", "--authfile", self.auth, self.stack.address)

    def _remote(self, verb, *words):
        return self.call(self.name, verb, *self._authfile(), "--cert-dir", self.stack.certificates, *words)

    def _authfile(self):
        """None before a login: it has to exist."""
        return ("--authfile", self.auth) if self.auth.exists() else ()

    def pull(self, repository):
        # What is in the storage would not be asked for again.
        self.call(self.name, "rmi", "--force", self.reference(repository))
        return self._remote("pull", self.reference(repository))


class Podman(_Containers):
    name = "podman"

    def push(self, repository):
        loaded = self.call("podman", "load", "--input", self.archive)
        if loaded.returncode != 0:
            return loaded
        return self._remote("push", self.reference("alice/loaded"), self.reference(repository))

    def search(self, term):
        # It takes no certificates.
        return self.call("podman", "search", *self._authfile(), "--tls-verify=false", "--limit", "1000",
                         "--format", "{{.Name}}",
                         f"{self.stack.address}/{term}")


class Buildah(_Containers):
    name = "buildah"

    def push(self, repository):
        context = self.directory / "context"
        context.mkdir(exist_ok=True)
        (context / "hello.txt").write_bytes(GREETING["hello.txt"])
        (context / "Containerfile").write_text("FROM scratch\nCOPY hello.txt /\n", encoding="ascii")
        built = self.call("buildah", "build", "--isolation", "chroot", "--tag", "built", context)
        if built.returncode != 0:
            return built
        return self._remote("push", "localhost/built", f"docker://{self.reference(repository)}")


class Docker(Client):
    name = "docker"

    def __init__(self, stack, directory, files=GREETING):
        super().__init__(stack, directory, files)
        # In the folder of DOCKER_CONFIG, below.
        self.auth = directory / "config.json"
        self.daemon = Dockerd(directory / "daemon", self._hosts, stack.address, stack.certificates,
                              self._place)

    def environment(self):
        return {**super().environment(), "DOCKER_HOST": self.daemon.url, "DOCKER_CONFIG": str(self.directory)}

    def call(self, *words, **options):
        return super().call(self._place.docker, *words, **options)

    def login(self, user, password):
        return self.call("login", "--username", user, "--password-stdin", self.stack.address, input=password)

    def sign_out(self):
        return self.call("logout", self.stack.address)

    def push(self, repository):
        self.call("load", "--input", self.archive)
        self.call("tag", self.reference("alice/loaded"), self.reference(repository))
        return self.call("push", self.reference(repository))

    def pull(self, repository):
        images = self.call("images", "--quiet", "--no-trunc").stdout.split()
        if images:
            self.call("rmi", "--force", *images)
        return self.call("pull", self.reference(repository))

    def close(self):
        self.daemon.stop()


class Ctr(Client):
    """containerd's ctr: no login, credentials go with each command."""

    name = "ctr"

    def __init__(self, stack, directory, files=GREETING):
        super().__init__(stack, directory, files)
        self.daemon = Containerd(directory / "daemon", self._hosts, self._visible, self._place)
        self._user = ()
        hosts = directory / "certs.d" / stack.address
        hosts.mkdir(parents=True)
        (hosts / "hosts.toml").write_text(
            # The host itself and, by the first two lines, the server that containerd falls back to after it.
            f'server = "https://{stack.address}"\nca = "{stack.certificates}/ca.crt"\n\n'
            f'[host."https://{stack.address}"]\nca = "{stack.certificates}/ca.crt"\n', encoding="ascii")
        self._hosts_folder = directory / "certs.d"

    def call(self, *words, **options):
        return super().call("ctr", "--address", self.daemon.socket, *words, **options)

    def login(self, user, password):
        """Only notes the credentials: the first command that uses them tells."""
        self.remember(user, password)
        return self.call("version")

    def remember(self, user, password):
        self._user = ("--user", f"{user}:{password}")

    def remember_refresh_token(self, token):
        self._user = ("--refresh", token)

    def logout(self):
        self._user = ()

    def push(self, repository):
        self.call("images", "import", "--no-unpack", self.archive)
        self.call("images", "tag", "--force", self.reference("alice/loaded"), self.reference(repository))
        return self.call("images", "push", "--hosts-dir", self._hosts_folder, *self._user,
                         self.reference(repository))

    def pull(self, repository):
        for name in self.call("images", "list", "--quiet").stdout.split():
            self.call("images", "remove", "--sync", name)
        return self.call("images", "pull", "--hosts-dir", self._hosts_folder, *self._user,
                         self.reference(repository))

    def close(self):
        self.daemon.stop()


ALL = (Skopeo, Podman, Buildah, Docker, Ctr)
