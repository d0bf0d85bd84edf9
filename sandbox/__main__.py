"""Start a runner: `python -m sandbox --config runner.toml`. Parts are joined here and nowhere else."""

import argparse
import asyncio
import ctypes
import resource
import signal
import sys
import time
from pathlib import Path

import structlog

from carnet.core.errors import CarnetError
from carnet.core.runner import Isolation
from carnet.pins import load_pins
from carnet.tls import channel_credentials, open_channel
from sandbox.agent import Agent, Parts, clean_up
from sandbox.cage import template_digest
from sandbox.config import RunnerConfig, load_config
from sandbox.docker import DockerEngine
from sandbox.epoch import EpochKeys
from sandbox.evidence import Evidence, read_leaf
from sandbox.journal import Journal
from sandbox.link import Link
from sandbox.worker import Bench

_PR_SET_DUMPABLE = 4

_log = structlog.get_logger("sandbox")


async def serve(config: RunnerConfig) -> None:
    """Run one runner until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    config.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = time.time_ns
    pins = load_pins(config.pins)
    leaf = read_leaf(config, now_ns=clock())
    engine = DockerEngine(config.docker)
    journal = Journal(config.state / "journal.jsonl", clock=clock)
    spool_directory = config.state / "spool"
    label = leaf.id.runner
    await clean_up(engine, journal, spool_directory, label=label)
    image_id = await engine.image_id(config.probe_image)
    facts = await engine.probe(image_id=image_id, uid=config.uid_first, isolation=Isolation(config.isolation))
    keys = EpochKeys(leaf.signer, spiffe_id=str(leaf.id), leaf_until_ns=leaf.not_after_ns, clock=clock)
    evidence = Evidence(config, leaf, keys, facts, clock=clock)
    credentials = channel_credentials(gateway_ca=pins.gateway.ca, certificate=config.chain, private_key=config.key)
    async with open_channel(config.gateway, credentials, server_name=pins.gateway.server_name) as channel:
        link = Link(channel, presented=evidence.presented)
        bench = Bench(
            engine=engine,
            link=link,
            keys=keys,
            leaf=leaf.signer,
            journal=journal,
            spool_directory=spool_directory,
            clock=clock,
            label=label,
        )
        parts = Parts(
            bench=bench,
            link=link,
            keys=keys,
            evidence=evidence,
            pins=pins,
            slots=config.slots,
            uid_first=config.uid_first,
            stop_seconds=config.stop_seconds,
            clock=clock,
        )
        _log.info("runner ready", action="boot", runner=str(leaf.id), isolation=facts.isolation)
        await Agent(parts).run(stop)
    engine.close()


def guard_memory() -> None:
    """No core dumps, and no other process of this account may read this one's memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="carnet-runner", description="Run a Carnet runner.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", type=Path)
    what.add_argument("--template", action="store_true", help="print the sandbox profile's digest, for clients to pin")
    arguments = parser.parse_args()
    if arguments.template:
        sys.stdout.write(template_digest().hex() + "\n")
        return 0
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    guard_memory()
    try:
        asyncio.run(serve(load_config(arguments.config)))
    except CarnetError as error:
        detail = f"{error} {error.detail}".strip()
        sys.stderr.write(f"carnet-runner: {detail}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
