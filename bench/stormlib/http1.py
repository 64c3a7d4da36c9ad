"""A client over HTTP/1: raw bytes, so that they can end anywhere."""

import asyncio
import socket
import struct


class Gone(Exception):
    """The gate has closed the connection."""


def encode(request, port, close=True):
    headers = {"host": f"127.0.0.1:{port}", **request.headers}
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        headers["content-length"] = str(len(request.body))
    if close:
        headers["connection"] = "close"
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{request.method} {request.path} HTTP/1.1\r\n{head}\r\n".encode() + request.body


def chunked(request, port):
    """The same with its body in chunks."""
    plain = encode(request, port)
    head, body = plain[: len(plain) - len(request.body)], request.body
    head = head.replace(f"content-length: {len(body)}\r\n".encode(), b"transfer-encoding: chunked\r\n")
    chunks = [body[at : at + 5_000] for at in range(0, len(body), 5_000)]
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


async def _connect(gate):
    return await asyncio.open_connection("127.0.0.1", gate.port)


def _reset(writer):
    """Closes with a reset rather than an end."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def ask(gate, request):
    """The status of the answer, read to its end."""
    reader, writer = await _connect(gate)
    try:
        writer.write(encode(request, gate.port))
        answer = await reader.read()
        return int(answer.split(b" ", 2)[1]) if answer else 0
    finally:
        writer.close()


async def _whole(gate, requests, _):
    await ask(gate, requests.any())


async def _cut(gate, requests, chance):
    """A part of a request, perhaps a wait, and then nothing, an end, or a reset."""
    reader, writer = await _connect(gate)
    request = requests.any()
    bytes_ = (chunked if request.body and chance.random() < 0.3 else encode)(request, gate.port)
    try:
        writer.write(bytes_[: chance.randrange(len(bytes_))])
        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.02, 0.3]))
        if chance.random() < 0.3:
            writer.write_eof()
            await reader.read()
    finally:
        (_reset if chance.random() < 0.7 else type(writer).close)(writer)


async def _leave(gate, requests, chance):
    """A whole request, and no patience."""
    reader, writer = await _connect(gate)
    try:
        writer.write(encode(requests.any(), gate.port))
        if chance.random() < 0.7:
            await asyncio.sleep(chance.choice([0, 0.0005, 0.002, 0.01, 0.1, 0.6]))
        else:
            await reader.read(chance.randrange(1, 300))
    finally:
        (_reset if chance.random() < 0.8 else type(writer).close)(writer)


async def _many(gate, requests, chance):
    """Several requests on one connection, the last of them perhaps in part, and some of the answers."""
    reader, writer = await _connect(gate)
    try:
        bytes_ = b"".join(encode(requests.any(), gate.port, close=False)
                          for _ in range(chance.randrange(2, 6)))
        writer.write(bytes_[: len(bytes_) - chance.choice([0, 0, chance.randrange(len(bytes_))])])
        for _ in range(chance.randrange(6)):
            if not await asyncio.wait_for(reader.read(chance.randrange(1, 2_000)), 1):
                break
    finally:
        (_reset if chance.random() < 0.7 else type(writer).close)(writer)


async def _drip(gate, requests, chance):
    """Byte by byte, as far as it gets."""
    _, writer = await _connect(gate)
    try:
        for byte in encode(requests.any(), gate.port)[: chance.randrange(1, 400)]:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0)
    finally:
        _reset(writer)


VISITS = {"whole": _whole, "cut": _cut, "leave": _leave, "many": _many, "drip": _drip}


def visit(gate, requests, chance):
    """Name and coroutine of one visit."""
    kind = chance.choice(list(VISITS))
    return kind, VISITS[kind](gate, requests, chance)
