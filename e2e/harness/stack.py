"""The whole of what a user installs, in one folder: nginx with the module, Redis, two registries, alice and bob."""

import os
import shutil
import tempfile
from pathlib import Path

from . import tls
from .nginx import Nginx
from .process import must
from .redis import Redis
from .registry import Registry

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "build" / "ngx_http_registry_auth_module.so"
TOOL = ROOT / "build" / "registry-authctl"
USERS = ("alice", "bob")


class Stack:
    """Started by the constructor, stopped by stop() or at the end of a `with`; either removes the folder.

    `passwords` maps the users to theirs, `registries` to their docker-registry. `host` is the name clients use.
    `port`: the TLS port wanted; with `only`, ports.Taken is raised when it is in use, else another one is taken.
    `unix`: Redis listens on a unix socket. `plain`: nginx listens without TLS too. `http`, `main`: lines added there.
    `stopped`: asked while waiting; once true, starting ends with process.Interrupted."""

    def __init__(self, host=tls.TEST_HOST, passwords=None, port=None, only=False, unix=False, plain=False,
                 http=(), main=(), stopped=lambda: False):
        self.passwords = passwords or {user: f"{user}-secret" for user in USERS}
        self.registries = {}
        self.redis = self.nginx = None
        self.directory = Path(tempfile.mkdtemp(prefix="registry-auth-stack-"))
        try:
            _let_workers_in(self.directory)
            self.configuration = self.directory / "nginx"
            self.configuration.mkdir()
            tls.make(self.configuration)
            self.certificates = self._certificates_folder()
            self.redis = Redis(self.directory, unix, stopped)
            for user in USERS:
                self.registries[user] = Registry(self.directory / f"registry-{user}", user, stopped)
            for user in USERS:
                self.add_user(user, self.passwords[user], self.registries[user].address)
            self.nginx = Nginx(self.configuration, MODULE, self.redis.url, port, only, plain, http, main, stopped)
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

    def processes(self):
        """The running parts, for whoever watches over them."""
        parts = [self.redis, *self.registries.values(), self.nginx]
        return [part.process for part in parts if part]

    def stop(self):
        for part in (self.nginx, *self.registries.values(), self.redis):
            if part:
                part.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def _let_workers_in(directory):
    """As root, nginx's workers are www-data and must reach Redis' socket below `directory`; nobody else needs to."""
    if os.geteuid() != 0:
        return
    try:
        shutil.chown(directory, group="www-data")
        directory.chmod(0o750)
    except LookupError:
        directory.chmod(0o711)
