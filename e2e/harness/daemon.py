"""dockerd and containerd of a test's own: private folders, no bridge, no firewall rules, the host name of the test.

Used by harness.client. The daemon resolves and dials the registry itself, hence the private mount namespace.
"""

import json
import os
import shutil

from .process import Process, run

# The client that Debian ships beside its dockerd; another one on the PATH may want a newer API.
_DEBIAN_DOCKER = "/usr/bin/docker"


class Dockerd:
    """`hosts` becomes the daemon's /etc/hosts, the CA in `certificates` its trust for the registry at `address`."""

    def __init__(self, directory, hosts, address, certificates):
        directory.mkdir()
        self.client = _DEBIAN_DOCKER if os.access(_DEBIAN_DOCKER, os.X_OK) else "docker"
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
            ["unshare", "-m", "--propagation", "private", "sh", "-c",
             'mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/docker && shift && exec "$@"',
             str(hosts), str(etc), "dockerd", "--config-file", str(configuration)],
            directory / "dockerd.log",
        )
        try:
            self.process.await_ready(lambda: run([self.client, "--host", self.url, "version"]).returncode == 0)
        except BaseException:
            self.process.stop()
            raise

    def stop(self):
        self.process.stop(seconds=20)


class Containerd:
    """A containerd with only what `ctr images` needs."""

    def __init__(self, directory):
        directory.mkdir()
        self.socket = directory / "containerd.sock"
        configuration = directory / "config.toml"
        configuration.write_text(
            f'version = 2\nroot = "{directory}/root"\nstate = "{directory}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\naddress = "{self.socket}"\n', encoding="ascii")
        self.process = Process("containerd", ["containerd", "--config", str(configuration)],
                               directory / "containerd.log")
        try:
            self.process.await_ready(lambda: run(["ctr", "--address", str(self.socket), "version"]).returncode == 0)
        except BaseException:
            self.process.stop()
            raise

    def stop(self):
        self.process.stop()
