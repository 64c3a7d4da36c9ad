"""Clients that give up while their lookup waits: nothing crashes, nothing is leaked, the next ones are
served."""

import os
import signal
import socket
import struct
import time
import unittest

from faults.common import FaultCase
from harness.wire import basic
from testkit.process import eventually

CLIENTS = 200
ROUNDS = 3


class Aborts(FaultCase):
    # Longer than the test freezes Redis: a lookup ends because its client is gone, or because Redis answers.
    options = {"plain": True, "cache": False, "timeout": "5s"}

    def test_mid_lookup(self):
        self.addCleanup(self.stack.redis.process.send, signal.SIGCONT)
        self.probe()
        before = self.open_files()
        for reset in (False, True) * ROUNDS:
            self.stack.redis.process.send(signal.SIGSTOP)
            clients = [self.ask() for _ in range(CLIENTS)]
            time.sleep(0.1)
            for client in clients:
                if reset:
                    # An RST instead of a FIN.
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.close()
            time.sleep(0.1)
            self.stack.redis.process.send(signal.SIGCONT)
            self.recovers()
        self.workers_are_the_same()
        # Connections to the backend may stay in the keepalive pool; 1,200 aborted clients may not.
        back = eventually(lambda: self.open_files() < before + CLIENTS // 2, 15)
        self.assertIsNotNone(back, f"{before} files open before, {self.open_files()} after")

    def test_mid_lookup_with_half_of_a_push(self):
        """The same with a body under way, which is read only once the gate has said yes."""
        self.addCleanup(self.stack.redis.process.send, signal.SIGCONT)
        self.stack.redis.process.send(signal.SIGSTOP)
        clients = [self.ask("PUT", "/v2/frank/app/manifests/x", "Content-Length: 100000\r\n", b"x" * 50000)
                   for _ in range(CLIENTS)]
        time.sleep(0.1)
        for client in clients:
            client.close()
        self.stack.redis.process.send(signal.SIGCONT)
        self.recovers()
        self.workers_are_the_same()

    def ask(self, method="GET", target="/v2/", more="", body=b""):
        """Sends a request on a connection of its own and returns the connection."""
        client = socket.create_connection(("127.0.0.1", self.stack.nginx.plain_port))
        authorization = basic("frank", "secret")["Authorization"]
        head = (f"{method} {target} HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: {authorization}\r\n{more}\r\n")
        client.sendall(head.encode() + body)
        return client

    def open_files(self):
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in self.stack.nginx.workers())


if __name__ == "__main__":
    unittest.main()
