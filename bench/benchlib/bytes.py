"""Bytes: the CPU time that a gigabyte costs registry and nginx together, and how fast it goes.

All servers share one CPU, the clients have the other. Each round asks the registry alone, then every
contestant in turn, then the registry alone again: what is compared lies within seconds of each other. Called
by bench/bytes.
"""

import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from testkit import ports, tls
from testkit.process import Failed, bound, eventually
from testkit.registry import Registry

from . import gateway, people
from .conf import fill

ROOT = Path(__file__).resolve().parents[2]
TRANSFER = Path(__file__).with_name("transfer.py")
MIB, GB = 1 << 20, 1_000_000_000
SIZES = (1, 64, 1024)
CLIENTS = (1, 32)
ALONE = "registry"
# The same file from nginx itself, without a gate: what the kernel takes, and nobody can do with less.
FLOOR = "file"
PULLS = ("gate", "cache", "store", FLOOR)
# The store once more, with threads that read.
THREADS = "threads"
PUSHES = ("gate",)
# Above these the machine is too noisy to judge: how much the same run of the registry differed, and the part
# of the two CPUs that others had.
SPREAD, FOREIGN = 1.25, 0.10
# CPU time a gigabyte beside the registry's, at most, without TLS: with it, each byte is encrypted by all.
# Where FLOOR does not reach them, or not the registry's speed, it is the aim: with this allowance.
AIMS = {"store": 0.25, "cache": 0.40}
ALLOWANCE = 1.15


@dataclass(frozen=True)
class Cell:
    """What is measured: pulls or pushes, of which size, by how many clients, over TLS or not."""

    push: bool
    tls: bool
    mebibytes: int
    clients: int

    def contestants(self):
        return PUSHES if self.push else PULLS

    def title(self):
        size = "1 GiB" if self.mebibytes == 1024 else f"{self.mebibytes} MiB"
        way = "TLS" if self.tls else "plain"
        return f"{'push' if self.push else 'pull'}, {way}, {size}, {self.clients} at once"


CELLS = [Cell(push, secure, size, clients) for push in (False, True) for secure in (False, True)
         for size in SIZES for clients in CLIENTS]


@dataclass
class Figures:
    """Of one contestant in one cell: seconds of CPU a GB and GB a second, and both as ratios to the registry
    alone in the same round."""

    cost: list = field(default_factory=list)
    speed: list = field(default_factory=list)
    cost_ratio: list = field(default_factory=list)
    speed_ratio: list = field(default_factory=list)


CONF = """\
load_module {module};
{user}worker_processes 1;
{files}daemon off;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
{paths}    registry_auth_redis redis://127.0.0.1:{redis}/0 timeout=5s connect_timeout=5s;
    registry_auth_cache zone=bench:8m ttl=1h;
    proxy_cache_path {root}/blobs levels=1:2 keys_zone=registry_blobs:10m max_size=8g use_temp_path=off;
    include {shipped}/direct.conf;
    upstream registries {{ registry_auth_backends; keepalive 64; }}
{servers}}}
"""
SERVER = """\
    server {{
        listen 127.0.0.1:{plain};
        listen 127.0.0.1:{secure} ssl;
        ssl_certificate {certificates}/certificate.pem;
        ssl_certificate_key {certificates}/key.pem;
        registry_auth Registry;
        include {shipped}/proxy.conf;
        {extra}
        location /v2/ {{ proxy_pass http://registries; }}
        location = /neighbour {{ registry_auth off; return 204; }}
    }}
"""


class Bench:
    """The servers of one run, and what was measured."""

    def __init__(self, stage, nginx, module):
        self._stage = stage
        certificates = Path(stage.path("tls"))
        certificates.mkdir()
        tls.make(certificates)
        cpus = {stage.nginx_cpu}
        root = Path(stage.root)
        storage = root / "storage"
        self._registry = Registry(root / "registry", "the bench", storage=storage, cpus=cpus)
        pair = (certificates / "certificate.pem", certificates / "key.pem")
        self._secure_registry = Registry(root / "registry-tls", "the bench, with TLS", storage=storage,
                                         cpus=cpus, certificate=pair)
        stage.keep(self._registry)
        stage.keep(self._secure_registry)
        self._storage = storage
        self._digests = {size: self._make_blob(size) for size in SIZES}
        redis = stage.redis("redis")
        digest = hashlib.sha1(people.password_of(people.ALICE).encode()).hexdigest()
        redis.command("hset", f"docker-registry:user:{people.ALICE}", "password", digest,
                      "backends", self._registry.address)
        # {contestant: (plain port, TLS port)}
        self._ports = {name: (ports.free(), ports.free()) for name in (*PULLS, THREADS)}
        self._ports[ALONE] = tuple(int(registry.address.split(":")[1])
                                   for registry in (self._registry, self._secure_registry))
        shipped = ROOT / "nginx"
        store = f"registry_auth_store {storage} backend={self._registry.address};"
        data = self._tree / "blobs" / "sha256"
        file = ("location ~ ^/v2/.*/blobs/sha256:(?<first>..)(?<rest>.*)$ "
                f"{{ registry_auth off; alias {data}/$first/$first$rest/data; }}")
        extra = {"gate": "", FLOOR: file, "cache": f"include {shipped}/blob-cache.conf;", "store": store,
                 THREADS: f"{store} aio threads; sendfile_max_chunk 512k;"}
        servers = "".join(
            SERVER.format(plain=self._ports[name][0], secure=self._ports[name][1], shipped=shipped,
                          certificates=certificates, extra=extra[name]) for name in extra)
        text = fill(CONF, stage.path("nginx"), "error", module=module, redis=redis.port, shipped=shipped,
                    servers=servers)
        self._nginx = gateway.start(stage, nginx, "nginx", text, self._ports["gate"][0], cpus)
        self.figures = {}
        self.cold = {}
        self._foreign = []

    @property
    def _tree(self):
        return self._storage / "docker" / "registry" / "v2"

    def _data(self, size):
        digits = hashlib.sha256(str(size).encode()).hexdigest()
        return self._tree / "blobs" / "sha256" / digits[:2] / digits / "data"

    def _make_blob(self, size):
        """A blob of so many MiB on the registry's disk, as after a push; its digest, which is made up, as
        nobody looks."""
        digits = hashlib.sha256(str(size).encode()).hexdigest()
        repository = self._tree / "repositories" / people.ALICE / "app"
        link, data = repository / "_layers" / "sha256" / digits / "link", self._data(size)
        for path in (link, data):
            path.parent.mkdir(parents=True)
        link.write_text(f"sha256:{digits}", encoding="ascii")
        noise = os.urandom(MIB)
        with open(data, "wb") as file:
            for _ in range(size):
                file.write(noise)
        return f"sha256:{digits}"

    def run(self, cells, rounds, seconds):
        """Measures; says on stderr what it is at."""
        for number in range(rounds):
            for cell in cells:
                print(f"round {number + 1} of {rounds}: {cell.title()}", file=sys.stderr, flush=True)
                self._round(cell, seconds)

    def _round(self, cell, seconds):
        if not cell.push:
            for name in PULLS:
                # Fills what remembers: the cache, the page cache, connections.
                self._measure(cell, name, 0)
        before = self._measure(cell, ALONE, seconds)
        runs = {name: self._measure(cell, name, seconds) for name in cell.contestants()}
        after = self._measure(cell, ALONE, seconds)
        neighbour = [(one + other) / 2 for one, other in zip(before, after)]
        self._figures(cell, ALONE).cost += [before[0], after[0]]
        self._figures(cell, ALONE).speed += [before[1], after[1]]
        for name, (cost, speed) in runs.items():
            figures = self._figures(cell, name)
            figures.cost.append(cost)
            figures.speed.append(speed)
            figures.cost_ratio.append(cost / neighbour[0])
            figures.speed_ratio.append(speed / neighbour[1])

    def _figures(self, cell, name):
        return self.figures.setdefault(cell, {}).setdefault(name, Figures())

    def _measure(self, cell, name, seconds):
        """(seconds of CPU a GB, GB a second) of so many seconds; of one blob where they are 0."""
        argv = [sys.executable, str(TRANSFER), self._task(cell, name, seconds)]
        spent, (busy, idle) = self._spent(), self._machine()
        client = subprocess.run(bound(argv, {self._stage.load_cpu}), capture_output=True, text=True,
                                check=False)
        if client.returncode:
            raise Failed(f"{cell.title()}, {name}: {client.stderr}\n{self._stage.tail('nginx/error.log')}")
        answer = json.loads(client.stdout)
        spent = self._spent() - spent
        now_busy, now_idle = self._machine()
        if seconds:
            ours = spent + answer["cpu"]
            whole = now_busy - busy + now_idle - idle
            self._foreign.append(max(0.0, (now_busy - busy - ours) / whole) if whole else 0.0)
        self._remove_uploads()
        gigabytes = answer["bytes"] / GB
        return spent / gigabytes, gigabytes / answer["seconds"]

    def _task(self, cell, name, seconds):
        """What the clients are to do, for transfer.py."""
        authorization = "" if name == ALONE else people.authorization(people.ALICE)
        return json.dumps({
            "port": self._ports[name][1 if cell.tls else 0], "tls": cell.tls, "push": cell.push,
            "clients": cell.clients if seconds else 1, "seconds": seconds,
            "repository": f"{people.ALICE}/app", "digest": self._digests[cell.mebibytes],
            "bytes": cell.mebibytes * MIB, "authorization": authorization,
        })

    def run_cold(self):
        """How long a neighbour on the same worker waits for its answers while blobs come from the disk that
        are not in memory: with sendfile alone, and with threads that read."""
        largest = max(SIZES)
        for name in ("idle", "store", THREADS):
            print(f"cold: {name}", file=sys.stderr, flush=True)
            if name == "idle":
                over = time.monotonic() + 3
                self.cold[name] = self._neighbour(lambda: time.monotonic() < over)
                continue
            self._forget(self._data(largest))
            puller = self._stage.load([sys.executable, str(TRANSFER), self._task(
                Cell(False, False, largest, 1), name, 0)])
            self.cold[name] = self._neighbour(lambda puller=puller: puller.poll() is None)
            if puller.wait():
                raise Failed(f"cold, {name}: {puller.stdout.read()}")

    def _neighbour(self, goes_on):
        """Milliseconds of each answer to a neighbour, who sends a request every two."""
        waits = []
        with socket.create_connection(("127.0.0.1", self._ports["store"][0]), timeout=60) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while goes_on():
                began = time.monotonic()
                connection.sendall(b"GET /neighbour HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = connection.recv(65536)
                if not answer.startswith(b"HTTP/1.1 204 "):
                    raise Failed(f"the neighbour got {answer!r}")
                waits.append((time.monotonic() - began) * 1000)
                time.sleep(0.002)
        return waits

    @staticmethod
    def _forget(path):
        """Has the kernel forget what it has of a file in memory."""
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def _spent(self):
        """Seconds of CPU so far, of nginx's workers and both registries."""
        pids = [*self._nginx.children(), self._registry.process.pid, self._secure_registry.process.pid]
        total = 0
        for pid in pids:
            for task in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                    total += int(file.read().split()[0])
        return total / 1e9

    def _machine(self):
        """Seconds for which the two CPUs were busy so far, and idle."""
        tick = os.sysconf("SC_CLK_TCK")
        busy = idle = 0
        names = {f"cpu{cpu}" for cpu in (self._stage.nginx_cpu, self._stage.load_cpu)}
        with open("/proc/stat", encoding="ascii") as file:
            for line in file:
                name, *numbers = line.split()
                if name in names:
                    numbers = [int(number) / tick for number in numbers[:8]]
                    idle += numbers[3] + numbers[4]
                    busy += sum(numbers) - numbers[3] - numbers[4]
        return busy, idle

    def _remove_uploads(self):
        """What was pushed; it would fill the disk. The registry may still be at one that was cut off."""
        uploads = self._tree / "repositories" / people.ALICE / "app" / "_uploads"
        must_go = eventually(lambda: shutil.rmtree(uploads, ignore_errors=True) or not uploads.exists(), 20)
        if not must_go:
            raise Failed(f"{uploads} cannot be removed")

    def noise(self):
        """What of the machine is too noisy to judge by, as sentences; none where it is quiet."""
        said = []
        spreads = {cell: max(figures[ALONE].cost) / min(figures[ALONE].cost)
                   for cell, figures in self.figures.items()}
        wide = [cell for cell, spread in spreads.items() if spread > SPREAD]
        if wide:
            worst = max(wide, key=spreads.get)
            said.append(f"the registry alone differed by up to {spreads[worst]:.2f} between equal runs "
                        f"({worst.title()}), by more than {SPREAD} in {len(wide)} of {len(spreads)} rows")
        foreign = statistics.mean(self._foreign)
        if foreign > FOREIGN:
            said.append(f"others had {foreign:.0%} of the two CPUs")
        return said

    def print(self, markdown):
        """Prints the table; how many aims were missed, as far as that can be judged."""
        rows = [self._row(cell) for cell in self.figures]
        head = ("", "registry alone: s/GB", "GB/s", *(f"{name}: CPU" for name in PULLS),
                *(f"{name}: GB/s" for name in PULLS))
        if markdown:
            rows.insert(0, ("---",) * len(head))
            for row in (head, *rows):
                print(f"| {' | '.join(row)} |")
        else:
            widths = [max(len(row[at]) for row in (head, *rows)) for at in range(len(head))]
            for row in (head, *rows):
                print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
        print("\nBut for the first two, ratios to the registry alone in the same round: medians.")
        for name, waits in self.cold.items():
            title = {"idle": "A neighbour on the same worker, idle", "store": "beside a cold blob, sendfile",
                     THREADS: "beside a cold blob, aio threads"}[name]
            ordered = sorted(waits)
            print(f"{title}: median {ordered[len(ordered) // 2]:.1f} ms, "
                  f"p99 {ordered[len(ordered) * 99 // 100]:.1f} ms, longest {ordered[-1]:.1f} ms")
        noise = self.noise()
        missed = self._missed()
        for line in missed:
            print(f"MISS {line}")
        if noise:
            print(f"NOISY: {'; '.join(noise)}. Nothing can be judged by this run.")
            return 0
        return len(missed)

    def _row(self, cell):
        figures = self.figures[cell]
        alone = figures[ALONE]

        def ratio(name, which):
            return f"{statistics.median(getattr(figures[name], which)):.2f}" if name in figures else ""

        return (cell.title(), f"{statistics.median(alone.cost):.2f}", f"{statistics.median(alone.speed):.2f}",
                *(ratio(name, "cost_ratio") for name in PULLS),
                *(ratio(name, "speed_ratio") for name in PULLS))

    def _missed(self):
        missed = []
        for cell, figures in self.figures.items():
            for name, aim in AIMS.items():
                if name not in figures:
                    continue
                cost, floor = (statistics.median(figures[which].cost_ratio) for which in (name, FLOOR))
                most = max(aim, floor * ALLOWANCE)
                if cost > most and not cell.tls:
                    missed.append(f"{cell.title()}: {name} {cost:.2f} of the registry's CPU time, "
                                  f"aim {most:.2f}")
                speed, floor = (statistics.median(figures[which].speed_ratio) for which in (name, FLOOR))
                least = min(1, floor / ALLOWANCE)
                if speed < least:
                    missed.append(f"{cell.title()}: {name} {speed:.2f} of the registry's speed, "
                                  f"aim {least:.2f}")
        return missed
