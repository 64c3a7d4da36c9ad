"""The gate: nginx with two workers and a cache, its backend, and a Redis that can be killed, frozen and started again.

Used by every part. Invariant: Redis keeps what it has acknowledged (appendonly, fsync always), so that a user means the same before
and after it was killed.
"""

import json
import os
import signal
import socket
import subprocess
import time
import types
import urllib.request

from benchlib import gateway, people
from benchlib.stage import StageError, free_port, wait_port

PREFIX = "P"
USERS = 2_000
WORKERS = 2
PATIENCE = 10  # seconds within which everything answers again

CONFIGURATION = """\
load_module {module};
{user}worker_processes {workers};
pid {root}/nginx.pid;
error_log {root}/error.log notice;
daemon off;
worker_shutdown_timeout 10s;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    keepalive_timeout 1h;
    keepalive_requests 1000000000;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    scgi_temp_path {root}/scgi;
    uwsgi_temp_path {root}/uwsgi;
    registry_auth_redis redis://127.0.0.1:{redis}/0 timeout=2s connect_timeout=1s;
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


class Redis:
    """A redis-server that saves what it acknowledges, and a connection to it."""

    def __init__(self, stage):
        self._stage, self.port = stage, free_port()
        os.makedirs(stage.path("redis"))
        self.start()

    def start(self):
        argv = ["redis-server", "--bind", "127.0.0.1", "--port", str(self.port), "--dir", self._stage.path("redis")]
        argv += ["--save", "", "--appendonly", "yes", "--appendfsync", "always"]
        self._process = self._stage.start(argv, {self._stage.load_cpu}, "redis.log")
        wait_port(self.port, self._process)
        self._connect()
        until = time.monotonic() + PATIENCE
        while self.command("PING") != "PONG":
            if time.monotonic() > until:
                raise StageError("redis-server is not ready")
            time.sleep(0.01)

    def _connect(self):
        self._socket = socket.create_connection(("127.0.0.1", self.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._reader = self._socket.makefile("rb")

    def kill(self):
        """kill -9"""
        self._socket.close()
        self._process.kill()
        self._stage.stop(self._process)

    def freeze(self):
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self._process.send_signal(signal.SIGCONT)

    def kill_clients(self):
        """Closes every connection but this one, the workers' tracking connections among them."""
        self.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        # In RESP3 a connection that tracks may be of that type only once it is subscribed.
        self.command("CLIENT", "KILL", "TYPE", "pubsub")

    def command(self, *words):
        """A command's reply; an error of Redis comes as its text."""
        return self.commands([words])[0]

    def commands(self, commands):
        out = []
        for words in commands:
            out.append(f"*{len(words)}\r\n" + "".join(f"${len(w.encode())}\r\n{w}\r\n" for w in words))
        self._socket.sendall("".join(out).encode())
        return [self._reply() for _ in commands]

    def _reply(self):
        line = self._reader.readline().decode().rstrip()
        if not line:
            raise StageError("Redis closed the connection")
        if line.startswith("$"):
            return None if line == "$-1" else self._reader.read(int(line[1:]) + 2).decode()[:-2]
        if line.startswith("*"):
            return [self._reply() for _ in range(int(line[1:]))]
        return line[1:]


class Gate:
    """The running whole."""

    def __init__(self, stage, nginx, module, zone="16m", ttl="1h", directives=""):
        self.stage = stage
        setting = types.SimpleNamespace(stage=stage, nginx=nginx)
        self.backend = gateway.start_backend(setting)
        self.redis = Redis(stage)
        self.seed()
        self._start(nginx, "gate", self._configuration("gate", module, zone, ttl, directives))

    def _configuration(self, name, module="", zone="16m", ttl="1h", directives=""):
        self.port = free_port()
        return CONFIGURATION.format(
            module=module, user="user root;\n" if os.geteuid() == 0 else "", workers=WORKERS,
            root=self.stage.path(name), redis=self.redis.port, prefix=PREFIX, zone=zone, ttl=ttl,
            directives=directives, backend=self.backend, port=self.port,
        )

    def _start(self, nginx, name, text):
        stage = self.stage
        self._argv = [nginx, "-c", stage.path(f"{name}/nginx.conf")]
        gateway.test(nginx, stage.write(f"{name}/nginx.conf", text))
        cpus = {stage.nginx_cpu, stage.load_cpu}
        self.master = stage.start(self._argv, cpus, f"{name}/out.log")
        wait_port(self.port, self.master)

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
        with open(f"/proc/{self.master.pid}/task/{self.master.pid}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]

    def reload(self):
        """Reloads the configuration; returns the new workers once they are there."""
        before = set(self.workers())
        self.master.send_signal(signal.SIGHUP)
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
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/status?format=json", timeout=PATIENCE) as page:
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
        grep = subprocess.run(["grep", "-c", "-F", text, self.stage.path("gate/error.log")], capture_output=True, text=True, check=False)
        return int(grep.stdout or 0)


class Plain(Gate):
    """The same nginx without the module, in front of the backend of `gate`: its configuration, but for our lines."""

    def __init__(self, gate, nginx):
        self.stage, self.backend, self.redis = gate.stage, gate.backend, gate.redis
        text = self._configuration("plain")
        ours = "load_module", "registry_auth"
        self._start(nginx, "plain", "\n".join(line for line in text.splitlines() if not any(word in line for word in ours)))
