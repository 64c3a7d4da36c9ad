"""What all parts share: the stage, the programs in use, the backend and the stores."""

import os
from pathlib import Path

from testkit import tls

from . import gateway, people, streams
from .store import Store

MILLION = 1_000_000


class Setting:
    """Started once a run. `store_of` starts a Redis and seeds a scenario's users on first use."""

    def __init__(self, stage, nginx, module, tool):
        self.stage, self.nginx, self.module, self.tool = stage, nginx, module, tool
        self.backend_port = gateway.start_backend(stage, nginx)
        certificates = Path(stage.path("tls"))
        certificates.mkdir()
        tls.make(certificates)
        os.chmod(stage.write("token.key", people.TOKEN_KEY + "\n"), 0o600)
        self._stores, self._seeded, self._streams = {}, set(), {}

    def has_module(self):
        return os.path.exists(self.module)

    def store(self, name="small"):
        if name not in self._stores:
            self._stores[name] = Store(self.stage, self.backend_port, name)
        return self._stores[name]

    def store_of(self, scenario):
        """The store behind a scenario, with its users in it; None where no gate of ours is."""
        if not scenario.ours:
            return None
        store = self.store("million" if scenario.users >= MILLION else "small")
        if scenario.name not in self._seeded:
            self._seeded.add(scenario.name)
            store.seed(scenario, self.tool)
        return store

    def stream(self, name):
        """Path of the stream's file for wrk."""
        if name not in self._streams:
            self._streams[name] = self.stage.write(f"{name}.stream", "\n".join(streams.lines(name)) + "\n")
        return self._streams[name]
