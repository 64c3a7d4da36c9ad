"""The nginx processes: the backend, and one gateway for each gate in a frame.

Called by the measuring parts. Invariant: a gateway that should refuse was seen to refuse, and one
that should let through was seen to let through, before anything is measured on it.
"""

import os
import subprocess
import time

from . import client, conf, people, streams
from .stage import StageError, free_port, knock, wait_port


class Unknown(Exception):
    """The module does not know a directive (yet): the scenario is left out, the others run."""


class Gateway:
    """A running nginx with a scenario's gate; `pids` are its worker processes."""

    def __init__(self, setting, scenario, cpus=None, before=(), foreground=False):
        stage, store = setting.stage, setting.store_of(scenario)
        self.scenario, self._stage = scenario, stage
        self.name = scenario.name.replace("/", "-").replace(" ", "-") + ("-foreground" if foreground else "")
        self.port = free_port()
        place = conf.Place(
            root=stage.path(self.name), port=self.port, backend=setting.backend_port, foreground=foreground,
            redis=store.port if store else 0, prefix=scenario.name, module=setting.module,
        )
        path = stage.write(f"{self.name}/nginx.conf", conf.render(scenario, place, os.geteuid() == 0))
        passwords = conf.htpasswd(scenario)
        if passwords:
            stage.write(f"{self.name}/htpasswd", passwords)
        test(setting.nginx, path)
        cpus = cpus or ({stage.nginx_cpu} if scenario.frame.workers == 1 else {stage.nginx_cpu, stage.load_cpu})
        self.process = stage.start([*before, setting.nginx, "-c", path], cpus, f"{self.name}/out.log")
        try:
            wait_port(self.port, self.process)
        except StageError as error:
            raise StageError(f"{scenario.name}: {error}\n{self.log()}") from error

    def log(self):
        return self._stage.tail(f"{self.name}/error.log") + self._stage.tail(f"{self.name}/out.log")

    def workers(self):
        """Process ids of the workers (the master's children)."""
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as file:
            return [int(pid) for pid in file.read().split()]

    def check(self):
        """A right password is let through, and a wrong one is not."""
        line = streams.lines(self.scenario.stream)[-1]
        self._expect(line, 202 if self.scenario.stream == "push" else 200)
        if self.scenario.gate not in ("bare", "auth_request"):
            method, path, _, body = line.split("\t")
            self._expect("\t".join([method, path, people.authorization(people.ALICE, "wrong"), body]), 401)

    def stop(self):
        """Ends it. A signal that comes just before epoll_wait is seen only at the next event: give it some."""
        time.sleep(0.2)  # let it finish what the last client left behind, so that it waits
        self.process.terminate()
        for turn in range(60):
            if self.process.poll() is not None:
                break
            if turn > 20:
                knock(self.port)
            time.sleep(0.1)
        self._stage.stop(self.process)

    def _expect(self, line, status):
        seen = client.ask(self.port, line, self.scenario.frame.tls)
        if seen != status:
            raise StageError(f"{self.scenario.name}: answer {seen}, expected {status}\n{self.log()}")


def test(nginx, path):
    """`nginx -t`: raises Unknown for a directive that does not exist, StageError for all else."""
    out = subprocess.run([nginx, "-t", "-q", "-c", path], capture_output=True, text=True, check=False)
    if out.returncode:
        if 'unknown directive "registry_auth' in out.stderr:
            raise Unknown(out.stderr.split('unknown directive "')[1].split('"')[0])
        raise StageError(f"nginx refuses {path}:\n{out.stderr}")


def start_backend(setting):
    """The registry's stand-in; returns its port."""
    stage, port = setting.stage, free_port()
    root = stage.path("backend")
    path = stage.write("backend/nginx.conf", conf.backend(root, port, os.geteuid() == 0))
    with open(stage.path("backend/blob"), "wb") as blob:
        blob.truncate(streams.BLOB_BYTES)
    process = stage.start([setting.nginx, "-c", path, "-g", "daemon off;"], {stage.load_cpu}, "backend/out.log")
    wait_port(port, process)
    return port


def make_certificate(stage):
    """A certificate for the TLS frames, where the configurations expect it."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    argv = [*command.split(), "-keyout", stage.path("tls.key"), "-out", stage.path("tls.crt")]
    subprocess.run(argv, check=True, capture_output=True)
