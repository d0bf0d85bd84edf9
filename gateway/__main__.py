"""Start a gateway: `python -m gateway --config gateway.toml`."""

import argparse
import asyncio
import ctypes
import json
import resource
import signal
import sys
from dataclasses import asdict
from pathlib import Path

import structlog

from carnet.core.errors import CarnetError
from gateway.app import Gateway
from gateway.config import GatewayConfig, load_config

_PR_SET_DUMPABLE = 4


async def serve(config: GatewayConfig, *, ready: Path | None) -> None:
    """Run one gateway until SIGTERM or SIGINT. Where it listens goes into `ready`, once it does."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    gateway = await Gateway.start(config)
    if ready is not None:
        text = json.dumps(asdict(gateway.addresses))
        partial = ready.with_suffix(".partial")
        await asyncio.to_thread(partial.write_text, text)
        await asyncio.to_thread(partial.rename, ready)
    await gateway.serve(stop)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="carnet-gateway", description="Run a Carnet gateway.")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--ready", type=Path, help="write the listeners' addresses here, as JSON")
    arguments = parser.parse_args()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    try:
        asyncio.run(serve(load_config(arguments.config), ready=arguments.ready))
    except CarnetError as error:
        detail = f"{error} {error.detail}".strip()
        sys.stderr.write(f"carnet-gateway: {detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
