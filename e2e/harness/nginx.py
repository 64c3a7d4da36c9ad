"""The real nginx with the shipped configuration of nginx/, moved into a temporary folder and onto free ports.

Not a copy of the configuration: what the tests prove, they prove of the files that people install.
"""

import os
import re
import shutil
import signal
from pathlib import Path

from . import ports
from .process import Failed, Process, must

SHIPPED = Path(__file__).resolve().parents[2] / "nginx"
INSTALLED = "/etc/nginx/registry-auth/"
# Debian has it where only root's PATH leads.
BINARY = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin") or "nginx"
FILES = ("nginx.conf", "registry.conf", "proxy.conf", "errors.conf")


def _replace(text, old, new):
    """`text` with `old` replaced, which must be there: a renamed line in nginx/ shall not go unnoticed."""
    if old not in text:
        raise Failed(f"nginx/: no {old!r} to replace in the shipped configuration")
    return text.replace(old, new)


def render(directory, module, redis_url, listen, main=(), timeout="500ms"):
    """Writes the shipped files into `directory` with this stack's paths and ports; returns the path of nginx.conf.

    `listen` holds the listen lines, `main` lines to add at the main level; `timeout` is that of the lookups."""
    for name in FILES:
        text = (SHIPPED / name).read_text(encoding="ascii")
        text = text.replace(INSTALLED, f"{directory}/")
        if name == "nginx.conf":
            text = _replace(text, "load_module modules/ngx_http_registry_auth_module.so;",
                            "\n".join([f"load_module {module};", *main]))
            text = _replace(text, "pid /run/nginx.pid;", f"pid {directory}/nginx.pid;")
            text = _replace(text, "/var/log/nginx/", f"{directory}/")
            text = _replace(text, "redis://127.0.0.1:6379/0 timeout=500ms", f"{redis_url} timeout={timeout}")
            scratch = [f"{kind}_temp_path {directory}/temp;"
                       for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
            text = _replace(text, "http {", "\n".join(["http {", *scratch]))
        if name == "registry.conf":
            text = _replace(text, "listen 443 ssl;", " ".join(listen))
        (directory / name).write_text(text, encoding="ascii")
    return directory / "nginx.conf"


class Nginx:
    """nginx with the module `module` (a Path) in front of the accounts in `redis_url`; `directory` holds certificate
    and key. `port` is the TLS port and, with `plain`, `plain_port` one without TLS (for load)."""

    def __init__(self, directory, module, redis_url, port=None, only=False, plain=False, main=(),
                 timeout="500ms", stopped=lambda: False):
        self.directory = directory
        self._stopped = stopped
        for candidate in ports.candidates(port, only):
            self.port = candidate
            self.plain_port = ports.free() if plain else None
            listen = [f"listen 127.0.0.1:{self.port} ssl;"]
            if plain:
                listen.append(f"listen 127.0.0.1:{self.plain_port};")
            self.configuration = render(directory, module, redis_url, listen, main, timeout)
            if not ports.is_free(candidate):
                continue
            try:
                return self.start()
            except Failed as failed:
                if "Address already in use" not in str(failed):
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
            self.process.await_ready(lambda: pid_file.exists() and pid_file.read_text().strip(), stopped=self._stopped)
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

    def complaints(self, expected=()):
        """The lines of the error log that no test may cause (alerts, crashes, panics), but for what matches `expected`."""
        return [line for line in self.error_log().splitlines()
                if re.search(r"\[(alert|crit|emerg)\]|exited on signal|panicked", line)
                and not any(re.search(pattern, line) for pattern in expected)]

    def stop(self):
        self.process.stop(signal.SIGTERM)


def _shutting_down(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return b"shutting down" in file.read()
    except (FileNotFoundError, ProcessLookupError):
        return True


