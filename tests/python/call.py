"""Calls an actor by plain NATS: call.py URL SUBJECT PAYLOAD. Prints the reply and the error headers as JSON."""

import asyncio
import json
import sys

import nats


async def main(url, subject, payload):
    client = await nats.connect(url)
    reply = await client.request(subject, payload.encode(), timeout=10)
    headers = reply.headers or {}
    error, kind = headers.get("Nats-Service-Error"), headers.get("Lattice-Fault")
    print(json.dumps({"payload": reply.data.decode(), "error": error, "kind": kind}))
    await client.close()


asyncio.run(main(*sys.argv[1:]))
