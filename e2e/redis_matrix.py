#!/usr/bin/env python3
"""`make redis-matrix`: each server, by each kind of link, in each topology, with the rights that docs/ names.

In each case: an account and its verbs by registry-authctl, `check`, a login at nginx as shipped, a wrong
password, and how long after `user lock` has ended anybody is still let in, which may be 100 ms. Prints a
table for docs/configuration/redis.md. Arguments choose cases by their words: `redis_matrix.py "valkey 8"
Cluster`.
"""

import http.client
import os
import re
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from harness import redis_servers
from harness.nginx import Nginx, Variant
from harness.stack import MODULE, ROOT, TOOL
from harness.wire import basic
from testkit import ports, tls
from testkit.process import Failed, Process, eventually, must, run
from testkit.registry import Registry

SERVERS = ("redis 7", "redis 8", "valkey 8")
LINKS = ("plain", "TLS", "TLS, client certificate", "unix socket")
TOPOLOGIES = ("single", "several", "Sentinel", "Cluster")
PREFIX = "{docker-registry}"
LIMIT = 0.1
PATIENCE = 30
MASTER = "registry"


def rights(page, user):
    """What docs/ says that this user needs, for our prefix, and for a Cluster, too."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    found = re.search(rf"ACL SETUSER {user} on >password (.+)", text)
    if not found:
        raise Failed(f"docs/{page} has no ACL line for {user}")
    return found.group(1).replace("docker-registry", PREFIX) + " +cluster|slots +asking"


def certificates(folder):
    """A CA, a certificate for servers (which are each other's clients, too), and one for clients."""
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    must(["openssl", "req", "-x509", *new, "-subj", "/CN=redis-ca", "-days", "2",
          "-keyout", folder / "ca.key", "-out", folder / "ca.pem"])
    for name, usage in (("server", "serverAuth,clientAuth"), ("client", "clientAuth")):
        (folder / "extensions").write_text(
            f"basicConstraints=CA:FALSE\nsubjectAltName=IP:127.0.0.1\nextendedKeyUsage={usage}\n",
            encoding="ascii")
        must(["openssl", "req", *new, "-subj", f"/CN={name}", "-keyout", folder / f"{name}.key",
              "-out", folder / f"{name}.csr"])
        must(["openssl", "x509", "-req", "-in", folder / f"{name}.csr", "-CA", folder / "ca.pem",
              "-CAkey", folder / "ca.key", "-CAcreateserial", "-days", "2", "-extfile", folder / "extensions",
              "-out", folder / f"{name}.pem"])


@dataclass(frozen=True)
class Case:
    server: str
    link: str
    topology: str

    def makes_sense(self):
        """A socket is one server's, on this machine: whoever names several, names hosts."""
        return self.link != "unix socket" or self.topology == "single"

    def __str__(self):
        return f"{self.server}, {self.link}, {self.topology}"


class Servers:
    """The servers of a case, below a folder. `url(login)` is how they are reached."""

    def __init__(self, case, folder, certificates_folder):
        self.case, self.folder, self.certificates = case, folder, certificates_folder
        self.processes, self.ports = [], []
        try:
            getattr(self, f"_{case.topology.lower()}")()
        except BaseException:
            self.stop()
            raise

    def stop(self):
        for process in reversed(self.processes):
            process.stop()

    def url(self, login):
        scheme = "rediss" if self.has_tls else "redis"
        if self.case.link == "unix socket":
            return f"redis+unix://{self.folder}/redis.sock"
        ports_ = self.sentinels if self.case.topology == "Sentinel" else self.ports
        hosts = ",".join(f"127.0.0.1:{port}" for port in ports_)
        kind, tail = {"Sentinel": ("+sentinel", f"/{MASTER}"), "Cluster": ("+cluster", "")}.get(
            self.case.topology, ("", ""))
        return f"{scheme}{kind}://{login}@{hosts}{tail}"

    @property
    def has_tls(self):
        return self.case.link.startswith("TLS")

    def cli(self, port, *words):
        where = ["-s", self.folder / "redis.sock"] if port == 0 else ["-p", str(port)]
        return must(["redis-cli", *where, *self._cli_tls(), *words])

    def _cli_tls(self):
        if not self.has_tls:
            return []
        at = self.certificates
        return ["--tls", "--cacert", at / "ca.pem", "--cert", at / "client.pem", "--key", at / "client.key"]

    def _listening(self, port):
        """Lines of a configuration."""
        if self.case.link == "unix socket":
            return ["port 0", f"unixsocket {self.folder}/redis.sock", "unixsocketperm 777"]
        if not self.has_tls:
            return [f"port {port}"]
        at, wants = self.certificates, "yes" if self.case.link != "TLS" else "no"
        return ["port 0", f"tls-port {port}",
                f"tls-cert-file {at}/server.pem", f"tls-key-file {at}/server.key",
                f"tls-ca-cert-file {at}/ca.pem", f"tls-auth-clients {wants}", "tls-replication yes"]

    def _start(self, name, lines, *words):
        """A server, on a free port; the port."""
        for _ in range(5):
            port = ports.free()
            folder = self.folder / f"{name}-{port}"
            folder.mkdir()
            configuration = folder / "conf"
            configuration.write_text("\n".join(["bind 127.0.0.1", f"dir {folder}", *self._listening(port),
                                                *lines, ""]), encoding="ascii")
            process = Process(name, [*redis_servers.program(self.case.server), str(configuration), *words],
                              folder / "log")
            where = 0 if self.case.link == "unix socket" else port
            try:
                process.await_ready(lambda where=where: run(
                    ["redis-cli", *(["-s", self.folder / "redis.sock"] if where == 0 else ["-p", str(where)]),
                     *self._cli_tls(), "PING"]).stdout.strip() == "PONG")
            except Failed as failed:
                process.stop()
                if "Address already in use" not in str(failed):
                    raise
                continue
            self.processes.append(process)
            return port
        raise Failed(f"{name} found no free port")

    def _data(self, *more):
        gate, tool = rights("reference/data-model.md", "gate"), rights("registry-authctl.md", "authctl")
        self.ports.append(self._start("redis", [
            'save ""', "maxmemory-policy noeviction", f"user gate on >gate-pw {gate}",
            f"user authctl on >authctl-pw {tool}", *more]))

    def _single(self):
        self._data()

    def _several(self):
        self._data("repl-diskless-sync-delay 0")
        self._data(f"replicaof 127.0.0.1 {self.ports[0]}")
        # The replica first: it is not the one to be asked.
        self._await(lambda: "master_link_status:up" in self.cli(self.ports[1], "INFO", "replication"))
        self.ports.reverse()

    def _sentinel(self):
        self._several()
        self.sentinels = []
        lines = [f"sentinel monitor {MASTER} 127.0.0.1 {self.ports[1]} 2"]
        for _ in range(3):
            self.sentinels.append(self._start("sentinel", lines, "--sentinel"))
        for port in self.sentinels:
            self._await(lambda port=port: re.search(
                r"num-other-sentinels\n2\n", self.cli(port, "SENTINEL", "MASTER", MASTER)))

    def _cluster(self):
        more = ["tls-cluster yes"] if self.has_tls else []
        for _ in range(3):
            self._data("cluster-enabled yes", f"cluster-port {ports.free()}", *more)
        hosts = [f"127.0.0.1:{port}" for port in self.ports]
        self.cli(self.ports[0], "--cluster", "create", *hosts, "--cluster-yes")
        for port in self.ports:
            self._await(lambda port=port: "cluster_state:ok" in self.cli(port, "CLUSTER", "INFO"))

    @staticmethod
    def _await(holds):
        if eventually(holds, PATIENCE) is None:
            raise Failed("the servers do not find each other")


class Gate:
    """nginx and the tool for the servers of a case."""

    def __init__(self, servers, folder):
        self.servers, self.nginx = servers, None
        at = servers.certificates
        names = {"trusted_certificate": "ca.pem"} if servers.has_tls else {}
        if servers.case.link == "TLS, client certificate":
            names |= {"certificate": "client.pem", "certificate_key": "client.key"}
        lines = [f"registry_auth_redis_{name} {at}/{file};" for name, file in names.items()]
        self.environment = {**os.environ, "REGISTRY_AUTH_PREFIX": PREFIX,
                            "REGISTRY_AUTH_REDIS": servers.url("authctl:authctl-pw")}
        for name, file in names.items():
            self.environment[f"REGISTRY_AUTH_REDIS_{name.upper()}"] = f"{at}/{file}"
        url = servers.url("gate:gate-pw")
        if servers.case.link == "unix socket":
            for user in ("gate", "authctl"):
                (folder / user).write_text(f"{user}-pw\n", encoding="ascii")
                (folder / user).chmod(0o600)
            lines += ["registry_auth_redis_user gate;", f"registry_auth_redis_password_file {folder}/gate;"]
            self.environment |= {"REGISTRY_AUTH_REDIS_USER": "authctl",
                                 "REGISTRY_AUTH_REDIS_PASSWORD_FILE": str(folder / "authctl")}
        configuration = folder / "nginx"
        configuration.mkdir()
        tls.make(configuration)
        http_lines = (*lines, f'registry_auth_prefix "{PREFIX}";')
        self.nginx = Nginx(configuration, MODULE, url, Variant(http=http_lines), plain=True)

    def tool(self, *words, status=0, **options):
        done = run([str(TOOL), *words], env=self.environment, **options)
        if done.returncode != status:
            raise Failed(f"registry-authctl {' '.join(words)}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def status(self, password="alice-secret"):
        connection = http.client.HTTPConnection("127.0.0.1", self.nginx.plain_port, timeout=10)
        try:
            connection.request("GET", "/v2/", headers=basic("alice", password))
            return connection.getresponse().status
        finally:
            connection.close()

    def expect(self, wanted, password="alice-secret"):
        """Of every worker."""
        got = [self.status(password) for _ in range(8)]
        if set(got) != {wanted}:
            raise Failed(f"{wanted} is expected: {got}\n{self.nginx.error_log()[-2000:]}")

    def late(self):
        """Seconds from the end of `user lock` to the last login that was let in."""
        self.expect(200)
        self.tool("user", "lock", "alice")
        ended = last = time.monotonic()
        refused = 0
        while refused < 20:
            asked = time.monotonic()
            if self.status() == 401:
                refused += 1
            else:
                refused, last = 0, asked
            if asked - ended > PATIENCE:
                raise Failed("nobody tells of the change")
        self.tool("user", "unlock", "alice")
        return last - ended


def try_case(case, registry, certificates_folder):
    """The seconds of Gate.late, the worst of three."""
    folder = Path(tempfile.mkdtemp(prefix="redis-matrix-"))
    folder.chmod(0o755)
    servers = gate = None
    try:
        servers = Servers(case, folder, certificates_folder)
        gate = Gate(servers, folder)
        gate.tool("user", "add", "alice", "--password-stdin", input="alice-secret\n")
        gate.tool("backend", "set", "alice", registry.address)
        gate.tool("group", "add", "team")
        gate.tool("group", "join", "team", "alice")
        gate.tool("grant", "add", "@team", "tools/**", "pull")
        gate.tool("token", "create", "alice", "--scope", "alice/**:pull", "--expires", "90d")
        for verb in ("user list", "user show alice", "group show team", "token list alice"):
            if not re.search("alice|team", gate.tool(*verb.split())):
                raise Failed(f"registry-authctl {verb} shows nobody")
        gate.tool("explain", "--user", "alice", "--action", "pull", "tools/a")
        gate.tool("check")
        eventually(lambda: gate.status() == 200, 5)
        gate.expect(200)
        gate.expect(401, "wrong")
        late = max(gate.late() for _ in range(3))
        if late > LIMIT:
            raise Failed(f"a change took {1000 * late:.0f} ms")
        return late
    finally:
        if gate and gate.nginx:
            gate.nginx.stop()
        if servers:
            servers.stop()
        shutil.rmtree(folder, ignore_errors=True)


def table(done):
    """Rows of servers and links; the milliseconds that a change took at most."""
    yield f"| server | link | {' | '.join(TOPOLOGIES)} |"
    yield f"|---|---|{'---|' * len(TOPOLOGIES)}"
    for server in SERVERS:
        for link in LINKS:
            cells = [done.get(Case(server, link, topology), "–") for topology in TOPOLOGIES]
            if set(cells) != {"–"}:
                yield f"| {server} | {link} | {' | '.join(cells)} |"


def main():
    wanted = sys.argv[1:]
    cases = [Case(server, link, topology) for server in SERVERS for link in LINKS for topology in TOPOLOGIES]
    cases = [case for case in cases if case.makes_sense() and all(
        word in (case.server, case.link, case.topology) for word in wanted)]
    done, failed = {}, 0
    folder = Path(tempfile.mkdtemp(prefix="redis-matrix-"))
    folder.chmod(0o755)
    registry = None
    try:
        certificates(folder)
        registry = Registry(folder / "registry", "alice")
        for case in cases:
            begun = time.monotonic()
            try:
                late = try_case(case, registry, folder)
                done[case], said = f"{1000 * late:.0f} ms", "ok"
            except (Failed, OSError) as why:
                done[case], said = "**fails**", f"FAILED: {why}"
                failed += 1
            print(f"{case}: {done[case]}, {said} ({time.monotonic() - begun:.0f} s)", flush=True)
    finally:
        if registry:
            registry.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"\n{len(cases) - failed} of {len(cases)} cases hold.\n")
    print("\n".join(table(done)))
    return 1 if failed or not cases else 0


if __name__ == "__main__":
    sys.exit(main())
