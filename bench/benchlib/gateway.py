"""The nginx processes: the backend, and one gateway for each gate in a frame.

Called by the measuring parts. Invariant: a gateway that should refuse was seen to refuse, and one
that should let through was seen to let through, before anything is measured on it.
"""

import os
import signal
import subprocess
import time

from testkit import ports
from testkit.process import Failed

from . import client, conf, people, streams


class Unknown(Exception):
    """The module does not know a directive (yet): the scenario is left out, the others run."""


class Gateway:
    """A running nginx with a scenario's gate. `asked` is when the last run ended, by time.monotonic()."""

    asked = 0.0

    def __init__(self, setting, scenario, cpus=None, before=(), foreground=False):
        stage, store = setting.stage, setting.store_of(scenario)
        self.scenario, self._stage = scenario, stage
        self.name = scenario.name.replace("/", "-").replace(" ", "-") + ("-foreground" if foreground else "")
        self.port = ports.free()
        place = conf.Place(
            root=stage.path(self.name), port=self.port, backend=setting.backend_port, foreground=foreground,
            redis=store.port if store else 0, prefix=scenario.name, module=setting.module,
        )
        passwords = conf.htpasswd(scenario)
        if passwords:
            stage.write(f"{self.name}/htpasswd", passwords)
        cpus = cpus or ({stage.nginx_cpu} if scenario.frame.workers == 1
                        else {stage.nginx_cpu, stage.load_cpu})
        self.process = start(stage, setting.nginx, self.name, conf.render(scenario, place), self.port, cpus,
                             before)

    def log(self):
        return self._stage.tail(f"{self.name}/error.log") + self._stage.tail(f"{self.name}/out.log")

    def workers(self):
        """Process ids of the workers (the master's children)."""
        return self.process.children()

    def check(self):
        """A right password is let through, and a wrong one is not."""
        line = streams.lines(self.scenario.stream)[-1]
        self._expect(line, 202 if self.scenario.stream == "push" else 200)
        if self.scenario.gate not in ("bare", "auth_request"):
            method, path, _, body = line.split("\t")
            self._expect("\t".join([method, path, people.authorization(people.ALICE, "wrong"), body]), 401)

    def stop(self):
        """Ends it. A signal that comes just before epoll_wait is seen only at the next event: give it
        some."""
        time.sleep(0.2)  # let it finish what the last client left behind, so that it waits
        self.process.send(signal.SIGTERM)
        for turn in range(60):
            if not self.process.running():
                break
            if turn > 20:
                ports.accepts(self.port)
            time.sleep(0.1)
        self._stage.stop(self.process)

    def _expect(self, line, status):
        seen = client.ask(self.port, line, self.scenario.frame.tls)
        if seen != status:
            raise Failed(f"{self.scenario.name}: answer {seen}, expected {status}\n{self.log()}")


def start(stage, nginx, name, text, port, cpus, before=()):
    """Starts nginx with the configuration `text` in the folder `name` and waits for its port; returns the
    Process.

    `before`: words in front of the command. Raises Unknown when the module lacks a directive, and Failed."""
    path = stage.write(f"{name}/nginx.conf", text)
    _test(nginx, path)
    try:
        return stage.start([*before, nginx, "-c", path], cpus, f"{name}/out.log", port)
    except Failed as error:
        raise Failed(f"{error}\n{stage.tail(f'{name}/error.log')}") from error


def _test(nginx, path):
    """`nginx -t`: raises Unknown for a directive that does not exist, Failed for all else."""
    out = subprocess.run([nginx, "-t", "-q", "-c", path], capture_output=True, text=True, check=False)
    if out.returncode:
        if 'unknown directive "registry_auth' in out.stderr:
            raise Unknown(out.stderr.split('unknown directive "')[1].split('"')[0])
        raise Failed(f"nginx refuses {path}:\n{out.stderr}")


def start_backend(stage, nginx):
    """The registry's stand-in; returns its port."""
    port = ports.free()
    os.makedirs(stage.path("backend"))
    with open(stage.path("backend/blob"), "wb") as blob:
        blob.truncate(streams.BLOB_BYTES)
    start(stage, nginx, "backend", conf.backend(stage.path("backend"), port), port, {stage.load_cpu})
    return port
