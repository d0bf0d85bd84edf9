"""The server that submissions are compared with: reads a stream of the same messages, keeps nothing, and answers.

grpc.aio, one process, the gateway's own TLS credentials and options, a client certificate demanded; no interceptor, no
validation, nothing durable. It answers with bytes of the size that the gateway answers with, and says where it listens
on its first line of output. Ends with its standard input.

    python tests/bench/support/noop.py PKI_DIRECTORY ANSWER_BYTES
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio

from carnet.pins import load_pins
from carnet.tls import SERVER_OPTIONS, server_credentials
from carnet.v1 import jobs_pb2
from carnet.v1.jobs_pb2_grpc import JobsServicer, add_JobsServicer_to_server


class Noop(JobsServicer):
    """Takes any submission."""

    def __init__(self, answer: jobs_pb2.SubmitJobResponse) -> None:
        self._answer = answer

    async def SubmitJob(  # noqa: N802
        self, request_iterator: AsyncIterator[jobs_pb2.SubmitJobRequest], context: Any
    ) -> jobs_pb2.SubmitJobResponse:
        """Read all of it."""
        async for _ in request_iterator:
            pass
        return self._answer


async def serve(pki: Path, answer_bytes: int) -> None:
    """Serve until standard input ends."""
    pins = load_pins(pki / "pins.json")
    home = pki / "gateway"
    server = grpc.aio.server(options=SERVER_OPTIONS)
    answer = jobs_pb2.SubmitJobResponse(job=jobs_pb2.Job(facts=bytes(answer_bytes)))
    add_JobsServicer_to_server(Noop(answer), server)
    roots = tuple(root for tenant in pins.tenants for root in tenant.roots)
    credentials = server_credentials(
        certificate=home / "server.pem", private_key=home / "server.key.pem", client_roots=roots
    )
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2])))
