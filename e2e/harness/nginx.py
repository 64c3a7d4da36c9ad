"""The real nginx with the shipped configuration of nginx/, moved into a temporary folder and onto free ports.

Not a copy of the configuration: what the tests prove, they prove of the files that people install.
"""

import os
import re
import secrets
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

from testkit import ports
from testkit.process import Failed, Process, must

SHIPPED = Path(__file__).resolve().parents[2] / "nginx"
INSTALLED = "/etc/nginx/registry-auth/"
# Debian has it where only root's PATH leads.
BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin") or "nginx"
SERVERS = ("registry.conf", "registry-bearer.conf")
V1_SERVER = "registry-v1.conf"
SHIPPED_CACHE = "registry_auth_cache zone=registry_auth:10m stale=10m;"
SHIPPED_FAILURES = "registry_auth_failures 10 5m;"
FILES = tuple(sorted(path.name for path in SHIPPED.glob("*.conf")))


@dataclass(frozen=True)
class Variant:
    """What is not as shipped. `bearer`: with registry-bearer.conf, whose tokens live for `ttl`; `token_key`:
    signed with the key of a file. `cache`: whether there is one; `stale`: whether it bridges outages of
    Redis. `v1`: with registry-v1.conf beside it. `blob_cache`: with blob-cache.conf.
    `timeout` is that of lookups; `main` and `http` hold lines for these levels."""

    bearer: bool = False
    token_key: bool = False
    ttl: str = "1h"
    cache: bool = True
    stale: bool = True
    v1: bool = False
    blob_cache: bool = False
    timeout: str = "500ms"
    main: tuple = ()
    http: tuple = ()


def _replace(text, old, new):
    """`text` with `old` replaced, which must be there: a renamed line in nginx/ shall not go unnoticed."""
    if old not in text:
        raise Failed(f"nginx/: no {old!r} to replace in the shipped configuration")
    return text.replace(old, new)


def _main_file(text, directory, module, redis_url, variant):
    """nginx.conf with this stack's paths, Redis and variant."""
    text = _replace(text, "load_module modules/ngx_http_registry_auth_module.so;",
                    "\n".join([f"load_module {module};", *variant.main]))
    text = _replace(text, "pid /run/nginx.pid;", f"pid {directory}/nginx.pid;")
    text = _replace(text, "/var/log/nginx/", f"{directory}/")
    text = _replace(text, "redis://127.0.0.1:6379/0 timeout=500ms", f"{redis_url} timeout={variant.timeout}")
    scratch = [f"{kind}_temp_path {directory}/temp;"
               for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    text = _replace(text, "http {", "\n".join(["http {", *scratch, *variant.http]))
    if variant.v1:
        text = _replace(text, f"# include {directory}/{V1_SERVER};", f"include {directory}/{V1_SERVER};")
    if variant.bearer:
        text = _replace(text, f"include {directory}/registry.conf;",
                        f"include {directory}/registry-bearer.conf;")
    if variant.token_key:
        text = _replace(text, "# registry_auth_token_key ", "registry_auth_token_key ")
    if variant.blob_cache:
        text = _replace(text, "# proxy_cache_path /var/cache/nginx/blobs",
                        f"proxy_cache_path {directory}/blobs")
        text = _replace(text, "#                  inactive=30d", "inactive=30d")
    if not variant.cache:
        text = _replace(text, SHIPPED_CACHE, "registry_auth_cache off;")
        text = _replace(text, SHIPPED_FAILURES, "")  # they are counted in the cache's zone
    elif not variant.stale:
        text = _replace(text, SHIPPED_CACHE, "registry_auth_cache zone=registry_auth:10m;")
    return text


def render(directory, module, redis_url, listen, v1_port, variant):
    """Writes the shipped files into `directory` with this stack's paths and ports; returns the path of
    nginx.conf.

    `listen` holds the listen lines but for V1's."""
    for name in FILES:
        text = (SHIPPED / name).read_text(encoding="ascii")
        text = text.replace(INSTALLED, f"{directory}/")
        if name == "nginx.conf":
            text = _main_file(text, directory, module, redis_url, variant)
        if name in SERVERS:
            text = _replace(text, "listen 443 ssl;", " ".join(listen))
            text = _replace(text, "listen [::]:443 ssl;", "")
            if variant.blob_cache:
                text = _replace(text, f"# include {directory}/blob-cache.conf;",
                                f"include {directory}/blob-cache.conf;")
        if name == V1_SERVER:
            text = _replace(text, "listen 5443 ssl;", f"listen 127.0.0.1:{v1_port} ssl;")
            text = _replace(text, "listen [::]:5443 ssl;", "")
        if name == "registry-bearer.conf":
            text = _replace(text, "registry_auth_token ttl=1h;", f"registry_auth_token ttl={variant.ttl};")
        (directory / name).write_text(text, encoding="ascii")
    return directory / "nginx.conf"


def make_token_key(directory):
    """What `umask 077; openssl rand -hex 32 > token-key` makes; whatever was there before is gone."""
    key = directory / "token-key"
    key.touch(mode=0o600)
    key.write_text(secrets.token_hex(32) + "\n", encoding="ascii")


class Nginx:
    """nginx with the module `module` (a Path) in front of the accounts in `redis_url`; `directory` holds
    certificate and key. `port` is the TLS port, `v1_port` the V1 server's and, with `plain`, `plain_port` one
    without TLS (for load)."""

    def __init__(self, directory, module, redis_url, variant, port=None, only=False, plain=False,
                 stopped=lambda: False):
        self.directory = directory
        self._stopped = stopped
        make_token_key(directory)
        for candidate in ports.candidates(port, only):
            self.port = candidate
            self.plain_port = ports.free() if plain else None
            self.v1_port = ports.free()
            listen = [f"listen 127.0.0.1:{self.port} ssl;"]
            if plain:
                listen.append(f"listen 127.0.0.1:{self.plain_port};")
            self.configuration = render(directory, module, redis_url, listen, self.v1_port, variant)
            if not ports.is_free(candidate):
                continue
            try:
                return self.start()
            except Failed as failed:
                # Twice the same free port is possible as well.
                if not re.search("Address already in use|duplicate listen", str(failed)):
                    raise
                # What it said about that port is no complaint about anything else.
                for log in ("error.log", "nginx.out"):
                    (self.directory / log).unlink(missing_ok=True)
        raise ports.Taken(f"port {self.port} is in use")

    def start(self):
        pid_file = self.directory / "nginx.pid"
        self.process = Process("nginx", [BINARY, "-c", str(self.configuration), "-g", "daemon off;"],
                               self.directory / "nginx.out", cwd="/")
        try:
            # Written once the sockets are bound.
            self.process.await_ready(lambda: pid_file.exists() and pid_file.read_text().strip(),
                                     stopped=self._stopped)
            if "master_process off" not in self.configuration.read_text():
                self.process.await_ready(lambda: len(self.workers()) > 0, stopped=self._stopped)
        except BaseException:
            self.process.stop()
            raise

    def workers(self):
        return [pid for pid in self.process.children() if not _shutting_down(pid)]

    def all_workers(self):
        """The workers, including those that are shutting down after a reload."""
        return self.process.children()

    def reload(self):
        """What `nginx -s reload` does, and through nginx itself."""
        must([BINARY, "-c", str(self.configuration), "-s", "reload"], cwd="/")

    def await_new_workers(self, before):
        """Waits until none of the workers `before` takes connections and others do."""
        self.process.await_ready(lambda: (now := self.workers()) and not set(now) & set(before))

    def error_log(self):
        return (self.directory / "error.log").read_text(errors="replace") + self.process.log_text()

    def access_log(self):
        return (self.directory / "access.log").read_text(errors="replace")

    def is_connected(self):
        """Whether each worker is connected again after an outage of Redis."""
        return set(self.workers()) <= connected_again(self.error_log())

    def complaints(self, expected=()):
        """The lines of the error log that no test may cause (alerts, crashes, panics), but for what matches
        `expected`."""
        return [line for line in self.error_log().splitlines()
                if re.search(r"\[(alert|crit|emerg)\]|exited on signal|panicked", line)
                and not any(re.search(pattern, line) for pattern in expected)]

    def stop(self):
        self.process.stop(signal.SIGTERM)


def connected_again(error_log):
    """The process ids of the workers whose last word about an outage of Redis is that it is over."""
    words = re.findall(r" (\d+)#\d+: .*(is reachable again|cannot connect|connection lost)", error_log)
    return {int(pid) for pid, word in dict(words).items() if word == "is reachable again"}


def _shutting_down(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"shutting down" in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return True


