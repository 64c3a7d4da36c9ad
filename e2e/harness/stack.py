"""The whole of what a user installs, in one folder: nginx with the module, Redis, two registries, alice and
bob."""

import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from testkit import tls
from testkit.process import must
from testkit.redis import Redis
from testkit.registry import Registry

from .nginx import Nginx, Variant
from .wire import Wire

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "build" / "ngx_http_registry_auth_module.so"
TOOL = ROOT / "build" / "registry-authctl"
USERS = ("alice", "bob")
# What `publish` opens to everybody: it lies in alice's own namespace, and in her registry.
PUBLIC = "alice/public"


class Stack:
    """Started by the constructor, stopped by stop() or at the end of a `with`; either removes the folder.

    `passwords` maps the users to theirs, `registries` to their docker-registry. `host` is the name clients
    use. `port`: the TLS port wanted; with `only`, ports.Taken is raised when it is in use, else another one
    is taken. `plain`: nginx listens without TLS too. `stopped`: asked while waiting; once true, starting ends
    with process.Interrupted. `redis`: what starts Redis in a folder, if not one server. `variant`: what
    nginx.Variant has; without any of it, nginx is as shipped, in Basic mode. `stores`: the users whose
    registries' disks nginx reads."""

    def __init__(self, host=tls.TEST_HOST, passwords=None, port=None, only=False, plain=False,
                 stopped=lambda: False, redis=Redis, stores=(), **variant):
        self.passwords = passwords or {user: f"{user}-secret" for user in USERS}
        self.registries = {}
        self.redis = self.nginx = None
        self._beside = []
        self.directory = Path(tempfile.mkdtemp(prefix="registry-auth-stack-"))
        # nginx's workers, who are nobody here, reach the registries' disks and their own cache.
        self.directory.chmod(0o711)
        try:
            self.configuration = self.directory / "nginx"
            self.configuration.mkdir()
            tls.make(self.configuration)
            self.certificates = self._certificates_folder()
            self.redis = redis(self.directory, stopped)
            for user in USERS:
                self.registries[user] = Registry(self.directory / f"registry-{user}", user, stopped)
            for user in USERS:
                self.add_user(user, self.passwords[user], self.registries[user].address)
            disks = [f"registry_auth_store {self.registries[user].storage} "
                     f"backend={self.registries[user].address};" for user in stores]
            variant["http"] = (*variant.get("http", ()), *disks)
            self.nginx = Nginx(self.configuration, MODULE, self.redis.url, Variant(**variant), port, only,
                               plain, stopped)
            self.address = f"{host}:{self.nginx.port}"
        except BaseException:
            self.stop()
            raise

    def _certificates_folder(self):
        """A folder with nothing but the CA, as the --cert-dir options and certs.d want it."""
        folder = self.directory / "ca"
        folder.mkdir()
        shutil.copy(self.configuration / "ca.crt", folder / "ca.crt")
        return folder

    def tool(self, *words, **options):
        """Runs registry-authctl and returns its output; raises process.Failed unless it succeeds."""
        environment = {**os.environ, "REGISTRY_AUTH_REDIS": self.redis.url}
        return must([str(TOOL), *words], env=environment, **options)

    def add_user(self, user, password, backend):
        """A new account through the tool, as an administrator would."""
        self.passwords[user] = password
        self.tool("user", "add", user, "--password-stdin", input=password + "\n")
        self.tool("backend", "set", user, backend)

    def add_fast_user(self, user, password, backend):
        """A new account whose password costs next to nothing to check, for tests that put nginx under load:
        the 2014 gate's form, set the way its users do."""
        self.passwords[user] = password
        digest = hashlib.sha1(password.encode()).hexdigest()
        self.redis.command("hset", f"docker-registry:user:{user}", "password", digest, "backends", backend)

    def publish(self, name, files):
        """An image of alice's that everybody may pull, without a login, too; returns its repository."""
        repository = f"{PUBLIC}/{name}"
        Wire(self, "alice").push_image(repository, files)
        self.tool("grant", "add", "public", f"{PUBLIC}/**", "pull")
        # Who has no login has no backend either, but everybody's.
        self.tool("backend", "set", "default", self.registries["alice"].address)
        return repository

    def beside(self, name, plain=False, **variant):
        """Another nginx in front of the same registries and accounts, in a folder of that name."""
        folder = self.directory / name
        folder.mkdir()
        tls.make(folder)
        nginx = Nginx(folder, MODULE, self.redis.url, Variant(**variant), plain=plain)
        self._beside.append(nginx)
        return nginx

    def processes(self):
        """The running parts, for whoever watches over them."""
        parts = [*self.registries.values(), self.nginx]
        redis = self.redis.processes() if self.redis else []
        return [*redis, *(part.process for part in parts if part)]

    def stop(self):
        for part in (*self._beside, self.nginx, *self.registries.values(), self.redis):
            if part:
                part.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
