"""A client over HTTP/2 without TLS: several streams on one connection, which it resets, leaves half-sent, or
abandons."""

import asyncio
import socket
import struct

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, ResponseReceived, StreamEnded, StreamReset
from h2.exceptions import ProtocolError


class Gone(Exception):
    """The gate has closed the connection."""


class Connection:
    def __init__(self, gate):
        self._gate = gate
        self.h2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.status, self.ended = {}, set()

    async def __aenter__(self):
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._gate.port_h2)
        self.h2.initiate_connection()
        self.flush()
        return self

    async def __aexit__(self, *_):
        self._writer.transport.abort()

    def flush(self):
        self._writer.write(self.h2.data_to_send())

    def reset(self):
        self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                         struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def send_head(self, request, ends):
        stream = self.h2.get_next_available_stream_id()
        headers = [(":method", request.method), (":path", request.path), (":scheme", "http"),
                   (":authority", "localhost"), *request.headers.items()]
        self.h2.send_headers(stream, headers, end_stream=ends)
        self.flush()
        return stream

    async def send_body(self, stream, body, ends=True):
        while body:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size, len(body))
            if room == 0:
                await self.receive()
                if stream in self.ended:
                    return
                continue
            self.h2.send_data(stream, body[:room], end_stream=ends and room == len(body))
            self.flush()
            body = body[room:]

    async def receive(self):
        bytes_ = await self._reader.read(1 << 16)
        if not bytes_:
            raise Gone
        try:
            events = self.h2.receive_data(bytes_)
        except ProtocolError as error:
            raise Gone from error
        for event in events:
            if isinstance(event, ResponseReceived):
                self.status[event.stream_id] = int(dict(event.headers)[":status"])
            elif isinstance(event, DataReceived):
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (StreamEnded, StreamReset)):
                self.ended.add(event.stream_id)
            elif isinstance(event, ConnectionTerminated):
                raise Gone
        self.flush()


async def ask(gate, request):
    """The status of the answer, read to its end."""
    async with Connection(gate) as connection:
        stream = connection.send_head(request, not request.body)
        try:
            await connection.send_body(stream, request.body)
            while stream not in connection.ended:
                await connection.receive()
        except Gone:
            pass
        return connection.status.get(stream, 0)


async def _whole(gate, requests, _):
    await ask(gate, requests.any())


async def _streams(gate, requests, chance):
    """Several at once; each is left alone, half-sent, reset at once or a moment later. Then the connection
    ends somehow."""
    try:
        async with Connection(gate) as connection:
            for _ in range(chance.randrange(1, 12)):
                request = requests.any()
                stream = connection.send_head(request, not request.body)
                half = request.body[: chance.choice([0, len(request.body) // 2, len(request.body)])]
                if half:
                    await connection.send_body(stream, half[:60_000], ends=chance.random() < 0.5)
                what = chance.randrange(4)
                if what == 0 and stream not in connection.ended:
                    await asyncio.sleep(chance.choice([0, 0, 0.001, 0.02]))
                    connection.h2.reset_stream(stream, chance.choice([ErrorCodes.CANCEL, ErrorCodes.NO_ERROR,
                                                                      ErrorCodes.INTERNAL_ERROR]))
                    connection.flush()
                elif what == 1:
                    await asyncio.wait_for(connection.receive(), 1)
            await asyncio.sleep(chance.choice([0, 0.001, 0.01, 0.2]))
            if chance.random() < 0.5:
                connection.reset()
    except ProtocolError:
        pass  # the gate has ended the stream meanwhile


async def _no_window(gate, requests, chance):
    """Answers are wanted and not taken."""
    async with Connection(gate) as connection:
        connection.h2.update_settings({4: chance.choice([0, 1, 10])})  # INITIAL_WINDOW_SIZE
        for _ in range(4):
            request = requests.any()
            connection.send_head(request, not request.body)
        await asyncio.sleep(chance.choice([0.01, 0.3]))


VISITS = {"whole": _whole, "streams": _streams, "no window": _no_window}


def visit(gate, requests, chance):
    """Name and coroutine of one visit."""
    kind = chance.choice(["whole", "streams", "streams", "streams", "no window"])
    return kind, VISITS[kind](gate, requests, chance)
