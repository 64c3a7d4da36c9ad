"""A client that sends exactly as many requests as its caller says, over keepalive connections.

Counting needs a number that is known, not one that depends on the clock. With n connections the
client works in lock-step: n requests out, n answers in; with one it is strictly sequential.
"""

import socket
import ssl

from testkit.process import Failed


class Client:
    """Keepalive connections to one port, and a stream to send in turn."""

    def __init__(self, port, stream_lines, connections, tls=False):
        self._requests = [_render(line) for line in stream_lines]
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        for connection in self._sockets:
            connection.settimeout(120)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self._sockets = [_over_tls(connection) for connection in self._sockets]
        self._next = 0

    def close(self):
        for connection in self._sockets:
            connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, count):
        """Sends `count` requests and reads their answers; raises unless each is a success."""
        while count > 0:
            turn = self._sockets[: min(count, len(self._sockets))]
            for connection in turn:
                connection.sendall(self._requests[self._next % len(self._requests)])
                self._next += 1
            for connection in turn:
                status = answer(connection)
                if status >= 400:
                    raise Failed(f"answer {status} where a success was expected")
            count -= len(turn)

    def ask(self):
        """The status of the next request, whatever it is."""
        connection = self._sockets[0]
        connection.sendall(self._requests[self._next % len(self._requests)])
        self._next += 1
        return answer(connection)


def ask(port, line, tls=False):
    """The status of one request."""
    with Client(port, [line], 1, tls) as client:
        return client.ask()


def _over_tls(connection):
    """No certificate is checked: it is the benchmark's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(connection)


def _render(line):
    method, path, authorization, bytes_of_body = line.split("\t")
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    if authorization:
        head += f"Authorization: {authorization}\r\n"
    if int(bytes_of_body):
        head += f"Content-Length: {bytes_of_body}\r\n"
    return (head + "\r\n").encode() + b"x" * int(bytes_of_body)


def answer(connection):
    """Reads one answer with a Content-Length and returns its status."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += _more(connection)
    head, body = data.split(b"\r\n\r\n", 1)
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    missing = length - len(body)
    while missing > 0:
        missing -= len(_more(connection))
    return int(head.split(b" ", 2)[1])


def _more(connection):
    data = connection.recv(1 << 16)
    if not data:
        raise Failed("the connection was closed in the middle of an answer")
    return data
