"""A slow line: a TCP relay that passes so many bytes a second to the server. TLS goes through it
untouched."""

import socket
import threading
import time

_CHUNK = 16384


class Throttle:
    """Relays a port of its own (`port`) to `target` on the loopback; answers come back at full speed."""

    def __init__(self, target, bytes_per_second):
        self._target = target
        # Bytes that went to the server so far.
        self.passed = 0
        self._rate = bytes_per_second
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client):
        with client, socket.create_connection(("127.0.0.1", self._target)) as server:
            answers = threading.Thread(target=_pump, args=(server, client, lambda _: None), daemon=True)
            answers.start()
            _pump(client, server, self._count)
            answers.join()

    def _count(self, size):
        self.passed += size
        time.sleep(size / self._rate)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Wakes accept(), which close() alone does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def _pump(source, sink, after):
    """Copies until `source` ends, and passes that end on; `after` hears the size of each piece.

    A broken connection ends both ways."""
    try:
        while data := source.recv(_CHUNK):
            sink.sendall(data)
            after(len(data))
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
