"""dockerd and containerd of a test's own: private folders, no bridge, no firewall rules, the host name of the
test.

Used by harness.client. The daemon resolves and dials the registry itself, hence the private mount namespace.
"""

import json
import os
import shutil

from testkit.process import Process, run

from .place import Here


class Dockerd:
    """`hosts` becomes the daemon's /etc/hosts, the CA in `certificates` its trust for the registry at
    `address`."""

    def __init__(self, directory, hosts, address, certificates, place=Here()):
        directory.mkdir()
        self.url = f"unix://{directory}/docker.sock"
        etc = directory / "etc"
        shutil.copytree(certificates, etc / "certs.d" / address)
        configuration = directory / "daemon.json"
        configuration.write_text(json.dumps({
            "iptables": False, "ip6tables": False, "bridge": "none", "ip-forward": False, "ip-masq": False,
            "data-root": f"{directory}/data", "exec-root": f"{directory}/exec", "pidfile": f"{directory}/pid",
            "hosts": [self.url], "storage-driver": "vfs",
        }), encoding="ascii")
        os.makedirs("/etc/docker", exist_ok=True)
        self.process = Process(
            "dockerd",
            [*place.enter(directory, (hosts, "/etc/hosts"), (etc, "/etc/docker")),
             "dockerd", "--config-file", str(configuration)],
            directory / "dockerd.log",
        )
        asked = [*place.enter(directory), place.docker, "--host", self.url, "version"]
        try:
            self.process.await_ready(lambda: run(asked).returncode == 0)
        except BaseException:
            self.process.stop()
            raise

    def stop(self):
        self.process.stop(seconds=20)


class Containerd:
    """A containerd with only what `ctr images` needs. It may read what lies below `visible`."""

    def __init__(self, directory, hosts, visible, place=Here()):
        directory.mkdir()
        self.socket = directory / "containerd.sock"
        configuration = directory / "config.toml"
        configuration.write_text(
            f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
            # The first is version 1's name, the others are version 2's.
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", '
            '"io.containerd.cri.v1.runtime"]\n'
            f'[grpc]\naddress = "{self.socket}"\n', encoding="ascii")
        self.process = Process(
            "containerd",
            [*place.enter(visible, (hosts, "/etc/hosts")), "containerd", "--config", str(configuration)],
            directory / "containerd.log")
        asked = [*place.enter(visible), "ctr", "--address", str(self.socket), "version"]
        try:
            self.process.await_ready(lambda: run(asked).returncode == 0)
        except BaseException:
            self.process.stop()
            raise

    def stop(self):
        self.process.stop()
