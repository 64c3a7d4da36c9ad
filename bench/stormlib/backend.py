"""A registry of sorts: it takes what it is sent, answers slowly now and then, and has a catalogue of several
pages.

Started by bench/storm, in its own event loop.
"""

import asyncio
import json
import random
from urllib.parse import parse_qs, urlsplit

REPOSITORIES = sorted(f"{user}/{name}" for user in ("alice", "bob", "shared")
                      for name in (f"app{n:02}" for n in range(40)))


async def start(port):
    await asyncio.start_server(_serve, "127.0.0.1", port)


async def _serve(reader, writer):
    try:
        while await _answer(reader, writer):
            pass
    except (OSError, EOFError, ValueError, asyncio.CancelledError):
        pass  # the gate has gone, or all is over
    finally:
        writer.close()


async def _answer(reader, writer):
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = dict((name.lower(), value.strip())
                   for name, _, value in (line.partition(":") for line in head[1:] if line))
    await _body(reader, headers)
    if random.random() < 0.2:
        await asyncio.sleep(random.uniform(0, 0.3))
    path, query = urlsplit(target)[2:4]
    status, more, body = 200, "", b"{}"
    if path == "/v2/_catalog":
        more, body = _catalogue(parse_qs(query))
    elif method == "PUT":
        status = 201
    writer.write(f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n{more}Content-Length: "
                 f"{len(body)}\r\n\r\n".encode())
    half = random.randrange(len(body) + 1)
    if method != "HEAD":
        writer.write(body[:half])
        await writer.drain()
        if random.random() < 0.05:
            return False  # half an answer
        writer.write(body[half:])
    await writer.drain()
    return headers.get("connection", "") != "close"


async def _body(reader, headers):
    if "chunked" in headers.get("transfer-encoding", ""):
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    else:
        left = int(headers.get("content-length", 0))
        while left:
            piece = await reader.read(min(left, 1 << 16))
            if not piece:
                raise EOFError
            left -= len(piece)


def _catalogue(query):
    number, last = int(query.get("n", ["10"])[0]), query.get("last", [""])[0]
    names = [name for name in REPOSITORIES if name > last][: min(number, 10)]
    more = names and names[-1] != REPOSITORIES[-1]
    link = f'Link: </v2/_catalog?n={number}&last={names[-1]}>; rel="next"\r\n' if more else ""
    return link, json.dumps({"repositories": names}).encode()
