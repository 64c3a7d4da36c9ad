"""Behind a balancer that ends TLS: clients push and pull through another nginx that speaks plain HTTP to the
gate and says X-Forwarded-Proto, as the shipped behind-balancer.conf expects it."""

import unittest

from harness import client
from harness.case import StackCase
from harness.nginx import BINARY
from testkit import ports
from testkit.process import Process
from testkit.tls import TEST_HOST

FRONT = """
pid {folder}/front.pid;
error_log {folder}/front.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/front; proxy_temp_path {folder}/front; fastcgi_temp_path {folder}/front;
    uwsgi_temp_path {folder}/front; scgi_temp_path {folder}/front;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        client_max_body_size 0;
        proxy_request_buffering off;
        proxy_http_version 1.1;
        location / {{
            proxy_pass http://127.0.0.1:{plain};
            proxy_set_header Host backend.internal;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto https;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""


class Balancer:
    """The same for both modes."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        stack = cls.stack
        folder = stack.configuration
        main = folder / "nginx.conf"
        text = main.read_text()
        assert f"include {folder}/direct.conf;" in text
        main.write_text(text.replace(f"include {folder}/direct.conf;",
                                     f"include {folder}/behind-balancer.conf;"))
        before = stack.nginx.workers()
        stack.nginx.reload()
        stack.nginx.await_new_workers(before)
        port = ports.free()
        configuration = folder / "front.conf"
        configuration.write_text(FRONT.format(folder=folder, port=port, plain=stack.nginx.plain_port))
        front = Process("front", [BINARY, "-c", str(configuration), "-g", "daemon off;"],
                        folder / "front.out", cwd="/")
        cls.addClassCleanup(front.stop)
        front.await_ready(lambda: (folder / "front.pid").exists() and front.children())
        stack.address = f"{TEST_HOST}:{port}"

    def goes_through(self, kind):
        """Login, push and pull of one's own, and a refused push."""
        tried = kind(self.stack, self.stack.directory / kind.name)
        self.addCleanup(tried.close)
        done = tried.login("alice", self.stack.passwords["alice"])
        self.assertEqual(done.returncode, 0, done.stdout)
        done = tried.push(f"alice/{kind.name}")
        self.assertEqual(done.returncode, 0, done.stdout)
        done = tried.pull(f"alice/{kind.name}")
        self.assertEqual(done.returncode, 0, done.stdout)
        done = tried.push("bob/stolen")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn(f"alice/{kind.name}", self.stack.registries["alice"].repositories())

    def test_docker(self):
        self.goes_through(client.Docker)

    def test_podman(self):
        self.goes_through(client.Podman)

    def test_skopeo(self):
        self.goes_through(client.Skopeo)


class BasicBehindBalancer(Balancer, StackCase):
    """registry.conf."""

    options = {"plain": True}


class BearerBehindBalancer(Balancer, StackCase):
    """registry-bearer.conf."""

    options = {"plain": True, "bearer": True}


if __name__ == "__main__":
    unittest.main()
