"""Many questions to both engines, in as many processes as there are cores: an evaluation holds the interpreter lock.

Not in `__main__`: a process that is spawned could not find it there.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Final

from tests.differential.engines import Both, shown
from tests.differential.questions import BUNDLE, questions

size_max: Final = 500

# How many were permitted, and the disagreements, to be shown.
Part = tuple[int, list[str]]


def compared_in_processes(opa: Path, *, seed: int, count: int) -> list[Part]:
    """Ask both engines this many questions; the same ones for the same seed."""
    seeds = range(seed, seed + count, size_max)
    sizes = [min(size_max, seed + count - begin) for begin in seeds]
    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(compared, repeat(opa), seeds, sizes))


def compared(opa: Path, seed: int, count: int) -> Part:
    """Ask both engines these questions, one after the other."""
    permitted, disagreements = 0, []
    both = Both(opa=opa, bundle=BUNDLE)
    try:
        for question in questions(seed=seed, count=count):
            one, other = both.ask(question)
            permitted += one.body is not None and one.body.verdict == "permit"
            if one.text() != other.text() or one.body is None:
                disagreements.append(shown(question, one, other))
    finally:
        both.close()
    return permitted, disagreements
