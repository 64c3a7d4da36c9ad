"""One docker-registry (distribution 2.8) with storage of its own, on whatever port the kernel gives it."""

import json
import os
import re
import shutil

from .process import Process


class Registry:
    """`directory` is made and takes configuration, log and, unless there is another, storage. `address` is
    host:port. Without a `secret` it makes a random one. With a `certificate`, the paths of that and of its
    key, it speaks TLS. It stays on `cpus`, if that is a set."""

    def __init__(self, directory, name, stopped=lambda: False, storage=None, secret="of the demo",
                 certificate=None, cpus=None):
        directory.mkdir()
        self.storage = storage or directory / "storage"
        configuration = directory / "registry.yml"
        # JSON is YAML. Port 0: two stacks can't collide, and the log tells the port.
        configuration.write_text(json.dumps({
            "version": 0.1,
            "log": {"level": "info", "accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.storage)}, "delete": {"enabled": True}},
            "http": {"addr": "127.0.0.1:0", "relativeurls": False, **({"secret": secret} if secret else {}),
                     **({"tls": dict(zip(("certificate", "key"), map(str, certificate)))}
                        if certificate else {})},
        }), encoding="ascii")
        # It takes every REGISTRY_… of the environment for configuration, REGISTRY_AUTH_REDIS (our tool's) and
        # REGISTRY_AUTH_FILE (podman's) included, and would not start.
        environment = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
        self.process = Process(f"docker-registry of {name}", ["docker-registry", "serve", str(configuration)],
                               directory / "registry.log", env=environment, cpus=cpus)
        try:
            self.address = self.process.await_ready(self._listening, stopped=stopped)
        except BaseException:
            self.process.stop()
            raise

    def _listening(self):
        found = re.search(r"listening on (127\.0\.0\.1:\d+)", self.process.log_text(100_000))
        return found and found.group(1)

    def repositories(self):
        """The names of the repositories that lie on this registry's disk, with at least one pushed manifest
        or blob."""
        root = self.storage / "docker" / "registry" / "v2" / "repositories"
        return sorted(str(path.parent.relative_to(root)) for path in root.glob("**/_layers"))

    def forget(self):
        """Empties the storage. The registry keeps no state of it in memory."""
        shutil.rmtree(self.storage, ignore_errors=True)

    def stop(self):
        self.process.stop()
