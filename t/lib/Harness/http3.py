"""HTTP/3 requests for the tests: reads JSON from stdin, a list of connections, each a list of requests that
are sent one after the other; writes the answers as JSON in the same form. Called by Http3.pm, with the port;
needs aioquic."""

import asyncio
import base64
import json
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, StreamReset

LIMIT = 5


class Http(H3Connection):
    def _check_content_length(self, stream):
        """aioquic wants a body after HEAD, too. The test compares lengths itself."""


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = Http(self._quic)
        self.waiting = {}
        self.ended = None

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated):
            self.ended = f"the connection was closed: {event.reason_phrase or event.error_code}"
            for answer, done in self.waiting.values():
                answer["error"] = self.ended
                done.set_result(None)
            self.waiting.clear()
        elif isinstance(event, StreamReset) and event.stream_id in self.waiting:
            answer, done = self.waiting.pop(event.stream_id)
            answer["error"] = f"the stream was reset: {event.error_code}"
            done.set_result(None)
        for part in self.http.handle_event(event):
            self.part_received(part)

    def part_received(self, part):
        answer, done = self.waiting.get(getattr(part, "stream_id", None), (None, None))
        if answer is None:
            return
        if isinstance(part, HeadersReceived):
            answer["headers"] += [[name.decode(), value.decode()] for name, value in part.headers]
        elif isinstance(part, DataReceived):
            answer["body"] += part.data
        if part.stream_ended:
            del self.waiting[part.stream_id]
            done.set_result(None)

    async def ask(self, request):
        if self.ended:
            return {"headers": [], "body": "", "error": self.ended}
        stream = self._quic.get_next_available_stream_id()
        answer = {"headers": [], "body": b""}
        done = asyncio.get_running_loop().create_future()
        self.waiting[stream] = (answer, done)
        headers = [
            (b":method", request["method"].encode()),
            (b":scheme", b"https"),
            (b":authority", request["host"].encode()),
            (b":path", request["uri"].encode()),
            *((name.lower().encode(), value.encode()) for name, value in request["headers"]),
        ]
        body = request["body"].encode()
        self.http.send_headers(stream, headers, end_stream=not body)
        if body:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        try:
            await asyncio.wait_for(done, LIMIT)
        except asyncio.TimeoutError:
            answer["error"] = f"no whole answer within {LIMIT} s"
            self.waiting.pop(stream, None)
        answer["body"] = base64.b64encode(answer["body"]).decode()
        return answer


async def converse(port, requests):
    configuration = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE)
    try:
        async with connect("127.0.0.1", port, configuration=configuration, create_protocol=Client) as client:
            return [await client.ask(request) for request in requests]
    except ConnectionError as error:
        return [{"headers": [], "body": "", "error": f"no connection: {error}"} for _ in requests]


async def main():
    port = int(sys.argv[1])
    json.dump([await converse(port, requests) for requests in json.load(sys.stdin)], sys.stdout)


asyncio.run(main())
