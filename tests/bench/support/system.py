"""A whole Carnet on this machine for a benchmark, started as `carnet dev` starts it, and the jobs that are sent to it.

Needed in the environment: CARNET_BASE_IMAGE, CARNET_OPA, and DOCKER_HOST where the engine is not at its usual place;
`./dev bench` sets them.
"""

import asyncio
import contextlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from carnet.core import limits
from certs.system import Development, development
from tests.bench.support.measure import say

NEEDED: Final = ("CARNET_BASE_IMAGE", "CARNET_OPA")
JOB_SECONDS_MAX: Final = 60


def needed() -> dict[str, str]:
    """What the environment must say. Ends the program with 2 where it does not."""
    missing = [name for name in NEEDED if not os.environ.get(name)]
    if missing:
        say(f"missing in the environment: {', '.join(missing)}; run it by `./dev bench`")
        sys.exit(2)
    return {name: os.environ[name] for name in NEEDED}


@contextlib.asynccontextmanager
async def whole_system() -> AsyncIterator[Development]:
    """Gateway, policy engine and three runners, on loopback, in a short temporary folder."""
    environment = needed()
    folder = Path(tempfile.mkdtemp(prefix="carnet-bench-"))
    say("starting the gateway, its policy engine and three runners")
    try:
        opa = Path(environment["CARNET_OPA"])
        async with development(folder, image=environment["CARNET_BASE_IMAGE"], opa=opa) as system:
            yield system
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def facts() -> bytes:
    """Facts of a job that may run anywhere: technical data of no person, on one core."""
    document = {
        "schema": "carnet.facts/v1",
        "purpose": "analytics",
        "controller": {"entity": "Werk Musterstadt", "country": "DE", "sectors": [], "public_body": False},
        "data": {
            "classes": ["technical"],
            "subject_jurisdictions": [],
            "origin_jurisdiction": "DE",
            "records": 0,
            "pseudonymised": False,
        },
        "transfer": {"mechanisms": [], "importers": []},
        "technology": {"controlled": "no", "itar": "no", "eccns": [], "eu_codes": [], "licences": []},
        "end_user": {"entity": "Klinikum Musterstadt", "country": "DE", "parent_country": "DE", "use": "civil"},
        "constraints": {"only": [], "never": [], "parent_never": [], "isolation_min": "container"},
        "image": os.environ["CARNET_BASE_IMAGE"],
        "resources": {
            "cpu_millis": 1000,
            "memory_bytes": 256 * limits.MIB,
            "work_bytes": 16 * limits.MIB,
            "gpus": 0,
        },
        "caps": {"seconds": JOB_SECONDS_MAX, "price_micro_usd": 1_000_000, "attempts": 2},
    }
    return json.dumps(document).encode()
