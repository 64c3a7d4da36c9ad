"""The gate: nginx with two workers and a cache, its backend, and a Redis that can be killed, frozen and
started again.

Used by every part. Invariant: Redis keeps what it has acknowledged (appendonly, fsync always), so that a user
means the same before and after it was killed.
"""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request

from benchlib import conf, gateway, people
from testkit import ports
from testkit.process import Failed

PREFIX = "P"
USERS = 2_000
WORKERS = 2
PATIENCE = 10  # seconds within which everything answers again

CONFIGURATION = """\
load_module {module};
{user}worker_processes {workers};
daemon off;
{files}worker_shutdown_timeout 10s;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
{paths}    registry_auth_redis redis://127.0.0.1:{redis}/0 timeout=2s connect_timeout=1s;
    registry_auth_prefix {prefix};
    registry_auth_cache zone=endurance:{zone} ttl={ttl};
    {directives}
    upstream registry {{
        registry_auth_backends;
        server 127.0.0.1:{backend};
        keepalive 64;
    }}
    server {{
        listen 127.0.0.1:{port} reuseport;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Authorization "";
        add_header X-Worker $pid always;
        location /v2/ {{
            registry_auth registry;
            proxy_pass http://registry;
        }}
        location = /status {{ registry_auth_status; }}
    }}
}}
"""


class Broken(Exception):
    """Something did not hold."""


def hold(name, gate, work, held):
    """Does `work()`, and prints `held` or what did not hold; the exit status."""
    try:
        work()
    except (Broken, Failed) as error:
        print(f"{name}: {error}\n{gate.log()}", file=sys.stderr)
        return 1 if isinstance(error, Broken) else 3
    print(f"{name}: {held}")
    return 0


class Gate:
    """The running whole."""

    def __init__(self, stage, nginx, module, zone="16m", ttl="1h", directives=""):
        self.stage, self.nginx = stage, nginx
        self.backend = gateway.start_backend(stage, nginx)
        self.redis = stage.redis("redis", durable=True)
        self.seed()
        self._start("gate", self._configuration("gate", module, zone, ttl, directives))

    def _configuration(self, name, module="", zone="16m", ttl="1h", directives=""):
        self.port = ports.free()
        return conf.fill(
            CONFIGURATION, self.stage.path(name), "notice", module=module, workers=WORKERS,
            redis=self.redis.port,
            prefix=PREFIX, zone=zone, ttl=ttl, directives=directives, backend=self.backend, port=self.port,
        )

    def _start(self, name, text):
        cpus = {self.stage.nginx_cpu, self.stage.load_cpu}
        self.master = gateway.start(self.stage, self.nginx, name, text, self.port, cpus)

    def seed(self):
        """USERS users who never change."""
        for number in range(USERS):
            self.redis.command("HSET", *self.record(people.user(number)))

    def record(self, name, password=None, *more):
        """Key and fields of a user's record."""
        stored = people.sha(people.password_of(name) if password is None else password)
        return [f"{PREFIX}:user:{name}", "password", stored, "backends", f"127.0.0.1:{self.backend}", *more]

    def workers(self):
        """Process ids of all workers, those that are about to leave included."""
        return self.master.children()

    def reload(self):
        """Reloads the configuration; returns the new workers once they are there."""
        before = set(self.workers())
        self.master.send(signal.SIGHUP)
        return self._await_workers(lambda pids: len(set(pids) - before) == WORKERS and set(pids) - before)

    def settled(self):
        """The workers, once there are no others."""
        return self._await_workers(lambda pids: len(pids) == WORKERS and set(pids))

    def _await_workers(self, wanted):
        until = time.monotonic() + 3 * PATIENCE
        while True:
            found = wanted(self.workers())
            if found:
                return found
            if time.monotonic() > until:
                raise Broken(f"workers are {self.workers()}, after a long wait")
            time.sleep(0.005)

    def status(self):
        """What the status page says."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status?format=json",
                                    timeout=PATIENCE) as page:
            return json.load(page)

    def resident(self, pid):
        """A process's memory in KiB."""
        with open(f"/proc/{pid}/status", encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS:"))

    def log(self):
        """The end of the logs, but for nginx's own notices."""
        lines = self.stage.tail("gate/error.log", 2_000).splitlines()
        return "\n".join([line for line in lines if "[notice]" not in line][-12:])

    def count_log(self, text):
        """How often a text is in the error log."""
        argv = ["grep", "-c", "-F", text, self.stage.path("gate/error.log")]
        grep = subprocess.run(argv, capture_output=True, text=True, check=False)
        return int(grep.stdout or 0)


class Plain(Gate):
    """The same nginx without the module, in front of the backend of `gate`: its configuration, but for our
    lines."""

    def __init__(self, gate, nginx):
        self.stage, self.nginx, self.backend, self.redis = gate.stage, nginx, gate.backend, gate.redis
        lines = self._configuration("plain").splitlines()
        self._start("plain",
                    "\n".join(line for line in lines if not re.search("load_module|registry_auth", line)))
