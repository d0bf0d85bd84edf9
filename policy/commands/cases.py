"""`carnet policy test --cases`: what officers expect of policy, asked of an engine, case by case.

carnet policy test --cases                            # ours, policy/cases
carnet policy test --cases cases.json --engine embedded

Every case that does not hold is a line with what the answer says instead.
"""

import asyncio
from pathlib import Path

from carnet.core.document import Json
from policy.bundle import Bundle
from policy.cases import Case, case_files, complaints, read_cases
from policy.commands.common import USAGE, asking, print_json, read, say
from policy.engines.choice import EngineName


def run_cases(bundle: Bundle, paths: tuple[Path, ...], name: EngineName) -> None:
    """Ask every case of the files and print what does not hold, as one JSON list; ends with 2 where there is any.

    Raises `FieldInvalid` where a file holds no cases, and `PolicyEngineUnavailable`.
    """
    found = [case for path in case_files(paths) for case in read_cases(read(path), file=path.name, bundle=bundle)]
    failed = asyncio.run(_failed(bundle, found, name))
    print_json(failed)
    say(f"{len(found)} cases, {len(failed)} do not hold", style="red" if failed else "")
    if failed:
        raise SystemExit(USAGE)


async def _failed(bundle: Bundle, cases: list[Case], name: EngineName) -> list[Json]:
    failed: list[Json] = []
    async with asking(bundle, name) as engine:
        for case in cases:
            body, verdicts = await engine.decide(case.query), await engine.judge(case.query, case.runners)
            if said := complaints(case, body, verdicts):
                failed.append({"file": case.file, "case": case.name, "rule": case.rule, "says": [*said]})
    return failed
