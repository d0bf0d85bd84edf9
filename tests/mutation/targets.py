"""Targets: which modules of the core are mutated, and which tests must notice, the fastest first.

A pattern is relative to `tests/`. Only tests that need nothing but this process are here: no port, container or engine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One module of `carnet/core` and the tests that hold it."""

    module: str
    patterns: tuple[str, ...]
    source: Path = ROOT / "carnet" / "core"
    tests: Path = ROOT / "tests"

    @property
    def path(self) -> Path:
        """The source file."""
        return self.source / f"{self.module}.py"

    def stages(self) -> list[list[str]]:
        """The test files of each pattern, in the order in which they run: most mutants fail in the first stage."""
        return [sorted(str(path) for path in self.tests.glob(pattern)) for pattern in self.patterns]


_ENVELOPE: Final = (
    "unit/core/test_envelope*.py",
    "vectors/test_envelope_vectors.py",
    "attacks/test_envelope_*.py",
    "property/test_envelope_properties.py",
)
_CREDENTIAL: Final = (
    "unit/core/test_credential*.py",
    "attacks/test_credential_attacks.py",
    "property/test_credential_bytes.py",
)

_TESTS: Final[dict[str, tuple[str, ...]]] = {
    "envelope": _ENVELOPE,
    "hybrid": _ENVELOPE,
    "segment": _ENVELOPE,
    "root": _ENVELOPE,
    "logrecord": _ENVELOPE,
    "lifecycle": ("unit/core/test_lifecycle*.py", "property/test_lifecycle_properties.py"),
    "lease": ("unit/core/test_lease*.py", "property/test_lease_properties.py"),
    "decision": ("unit/core/test_decision*.py", "property/test_decision_properties.py"),
    "credential": _CREDENTIAL,
    "certificate": _CREDENTIAL,
    "spiffe": _CREDENTIAL,
    "keyset": _CREDENTIAL,
    "statement": ("unit/core/test_statement*.py", "attacks/test_credential_attacks.py"),
    "job": ("unit/core/test_job*.py", "property/test_job_properties.py"),
    "receipt": ("unit/core/test_receipt*.py",),
    "encoding": ("unit/core/test_encoding*.py", "property/test_encoding_properties.py"),
    "audit": ("unit/core/test_audit*.py", "vectors/test_published_vectors.py", "property/test_audit_properties.py"),
    "checkpoint": (
        "unit/core/test_audit_checkpoint*.py",
        "unit/core/test_audit_mutants.py",
        "vectors/test_published_vectors.py",
    ),
}

TARGETS: Final = {module: Target(module=module, patterns=patterns) for module, patterns in _TESTS.items()}
