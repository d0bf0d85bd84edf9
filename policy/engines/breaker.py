"""Breaker: stops asking an engine that does not answer, and tries again by itself.

- After `failures_max` failures in a row it is open: calls fail at once, for `open_seconds`, doubled each time up to
  `open_seconds_max`. Then one call goes through; if it succeeds the breaker is closed, else open again.
- Only a failure to get any answer counts. A wrong answer may be one job's doing, and must not shut out the others.

    with breaker.guard():
        answer = await ask()
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from carnet.core.errors import PolicyEngineUnavailable

failures_max: Final = 3
open_seconds: Final = 0.5
open_seconds_max: Final = 8.0


class Unreachable(PolicyEngineUnavailable):
    """The policy engine does not answer."""


class Breaker:
    """Counts failures in a row. The clock is monotonic, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0
        self._trial = False

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Around one call. Raises `PolicyEngineUnavailable` while open; counts what the call raises."""
        trial = self._admit()
        try:
            yield
        except Unreachable:
            self._failed()
            raise
        else:
            self._failures = 0
        finally:
            self._trial = self._trial and not trial

    def _admit(self) -> bool:
        if self._failures < failures_max:
            return False
        if self._trial or self._clock() < self._open_until:
            raise PolicyEngineUnavailable(detail="the engine did not answer lately; it is asked again soon")
        self._trial = True
        return True

    def _failed(self) -> None:
        self._failures += 1
        doublings = min(max(self._failures - failures_max, 0), 10)
        self._open_until = self._clock() + min(open_seconds * 2**doublings, open_seconds_max)
