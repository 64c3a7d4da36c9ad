"""The clients of bench/bytes: pull one blob, or push one, over and over, for so many seconds.

A program of its own, as it has a CPU of its own. Its argument is JSON (benchlib/bytes.py); it prints JSON:
bytes that went, seconds, and seconds of its own CPU. What it pulls it throws away, without TLS already in the
kernel. Any answer but the expected one ends it with a message.
"""

import json
import os
import re
import socket
import ssl
import sys
import threading
import time

PIECE = 1 << 20
ZEROES = memoryview(bytes(PIECE))


class Client:
    """One connection, and what has gone over it."""

    def __init__(self, task, deadline):
        self._task, self._deadline = task, deadline
        self.moved = 0
        self.error = None

    def run(self):
        try:
            self._connection = self._connect()
            while True:
                (self._push if self._task["push"] else self._pull)()
                if time.monotonic() >= self._deadline:
                    break
            self._connection.close()
        except _Over:
            self._connection.close()
        except (OSError, ValueError) as error:
            self.error = repr(error)

    def _connect(self):
        plain = socket.create_connection(("127.0.0.1", self._task["port"]), timeout=60)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self._task["tls"]:
            return plain
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        # The same cipher with every server, that which clients in Go, as docker's, prefer.
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE+AES128+AESGCM")
        return context.wrap_socket(plain)

    def _request(self, line, *headers):
        authorization = self._task["authorization"]
        lines = [f"{line} HTTP/1.1", "Host: localhost", *headers]
        if authorization:
            lines.append(f"Authorization: {authorization}")
        self._connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def _answer(self, expected):
        """(headers, what has come of the body)."""
        text = b""
        while b"\r\n\r\n" not in text:
            more = self._connection.recv(65536)
            if not more:
                raise ValueError(f"the connection was closed after {text!r}")
            text += more
        head, _, body = text.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 %d " % expected):
            raise ValueError(f"{head!r}, expected {expected}")
        return head.decode("latin-1"), body

    def _pull(self):
        task = self._task
        self._request(f"GET /v2/{task['repository']}/blobs/{task['digest']}")
        head, body = self._answer(200)
        length = int(re.search(r"(?i)^content-length: (\d+)", head, re.M)[1])
        if length != task["bytes"]:
            raise ValueError(f"{length} bytes, expected {task['bytes']}")
        self.moved += len(body)
        left = length - len(body)
        waste = bytearray(PIECE)
        while left:
            if task["tls"]:
                taken = self._connection.recv_into(waste, min(left, PIECE))
            else:
                taken = self._connection.recv_into(waste, min(left, PIECE), socket.MSG_TRUNC)
            if not taken:
                raise ValueError(f"the connection was closed {left} bytes before the end")
            left -= taken
            self.moved += taken
            self._look_at_time()

    def _push(self):
        task = self._task
        self._request(f"POST /v2/{task['repository']}/blobs/uploads/", "Content-Length: 0")
        head, _ = self._answer(202)
        location = re.search(r"(?im)^location: (?:https?://[^/]*)?(\S+)", head)[1]
        self._request(f"PATCH {location}", f"Content-Length: {task['bytes']}",
                      "Content-Type: application/octet-stream")
        left = task["bytes"]
        while left:
            piece = min(left, PIECE)
            self._connection.sendall(ZEROES[:piece])
            left -= piece
            self.moved += piece
            self._look_at_time()
        self._answer(202)

    def _look_at_time(self):
        """Ends a transfer that is under way when the time is over; without a time, each is a whole one."""
        if self._task["seconds"] and time.monotonic() >= self._deadline:
            raise _Over


class _Over(Exception):
    """The time is over."""


def main():
    task = json.loads(sys.argv[1])
    began = time.monotonic()
    clients = [Client(task, began + task["seconds"]) for _ in range(task["clients"])]
    threads = [threading.Thread(target=client.run) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    errors = [client.error for client in clients if client.error]
    if errors:
        sys.exit(errors[0])
    times = os.times()
    json.dump({"bytes": sum(client.moved for client in clients), "seconds": seconds,
               "cpu": times.user + times.system}, sys.stdout)


if __name__ == "__main__":
    main()
