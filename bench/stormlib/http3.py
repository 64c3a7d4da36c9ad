"""A client over HTTP/3: several streams on one connection, which it resets, stops reading, leaves half-sent,
or abandons."""

import asyncio

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset


class Gone(Exception):
    """The gate has closed the connection."""


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.status, self._ended = {}, {}

    def ended(self, stream):
        """A future that is done when the stream is."""
        return self._ended.setdefault(stream, asyncio.get_running_loop().create_future())

    def _end(self, stream):
        future = self.ended(stream)
        if not future.done():
            future.set_result(None)

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            for stream in list(self._ended):
                self._end(stream)
        elif isinstance(event, StreamReset):
            self._end(event.stream_id)
        for http_event in self.http.handle_event(event):
            if isinstance(http_event, HeadersReceived):
                self.status[http_event.stream_id] = int(dict(http_event.headers)[b":status"])
            if isinstance(http_event, (HeadersReceived, DataReceived)) and http_event.stream_ended:
                self._end(http_event.stream_id)

    def send(self, request, part=1.0):
        """Sends a request, or a part of its body."""
        stream = self._quic.get_next_available_stream_id()
        headers = [(b":method", request.method.encode()), (b":scheme", b"https"),
                   (b":authority", b"localhost"), (b":path", request.path.encode())]
        headers += [(name.encode(), value.encode()) for name, value in request.headers.items()]
        self.http.send_headers(stream, headers, end_stream=not request.body)
        if request.body:
            length = int(len(request.body) * part)
            self.http.send_data(stream, request.body[:length], end_stream=length == len(request.body))
        self.ended(stream)
        self.transmit()
        return stream

    def reset(self, stream):
        self._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.transmit()

    def stop(self, stream):
        self._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.transmit()

    def vanish(self):
        """Sends nothing any more: not even that it ends."""
        self._transport.abort()


def _connect(gate):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, cafile=gate.authority,
                                      server_name="localhost", idle_timeout=10)
    return connect("127.0.0.1", gate.port_h3, configuration=configuration, create_protocol=Client)


async def ask(gate, request):
    """The status of the answer, read to its end."""
    async with _connect(gate) as client:
        stream = client.send(request)
        await client.ended(stream)
        return client.status.get(stream, 0)


async def _whole(gate, requests, _):
    await ask(gate, requests.any())


async def _streams(gate, requests, chance):
    """Several at once; each is left alone, half-sent, reset, or no more read, at once or a moment later."""
    async with _connect(gate) as client:
        for _ in range(chance.randrange(1, 12)):
            stream = client.send(requests.any(), chance.choice([0, 0.5, 1, 1]))
            if chance.random() < 0.6:
                await asyncio.sleep(chance.choice([0, 0.001, 0.01, 0.1]))
            what = chance.randrange(5)
            try:
                if what in (0, 1):
                    client.reset(stream)
                if what in (1, 2):
                    client.stop(stream)
            except (AssertionError, ValueError, RuntimeError):
                pass  # it has ended meanwhile
        await asyncio.sleep(chance.choice([0, 0.01, 0.2]))
        if chance.random() < 0.3:
            client.vanish()


VISITS = {"whole": _whole, "streams": _streams}


def visit(gate, requests, chance):
    """Name and coroutine of one visit."""
    kind = chance.choice(["whole", "streams", "streams"])
    return kind, VISITS[kind](gate, requests, chance)
