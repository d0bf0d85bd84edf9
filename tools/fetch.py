"""fetch.py URL FILE SHA256: downloads a file, or leaves nothing. Standard library only: it runs before .venv exists."""

import hashlib
import sys
import time
import urllib.request
from pathlib import Path

CONNECT_SECONDS_MAX = 5
TOTAL_SECONDS_MAX = 600
CHUNK_BYTES = 1 << 20


def fetch(url: str, target: Path, sha256: str) -> None:
    """Write `url` to `target`. OSError when the network does not give it; ValueError when it is not what was pinned."""
    digest = hashlib.sha256()
    until = time.monotonic() + TOTAL_SECONDS_MAX
    with urllib.request.urlopen(url, timeout=CONNECT_SECONDS_MAX) as answer, target.open("wb") as file:
        while chunk := answer.read(CHUNK_BYTES):
            if time.monotonic() > until:
                raise TimeoutError(f"not whole after {TOTAL_SECONDS_MAX} seconds")
            digest.update(chunk)
            file.write(chunk)
    if digest.hexdigest() != sha256:
        raise ValueError(f"has sha256 {digest.hexdigest()}, not {sha256}")


def main() -> None:
    url, target, sha256 = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    try:
        fetch(url, target, sha256)
    except (OSError, ValueError) as error:
        target.unlink(missing_ok=True)
        sys.exit(f"dev: {url}: {error}")


if __name__ == "__main__":
    main()
