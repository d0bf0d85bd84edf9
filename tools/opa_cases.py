"""opa_cases.py ZIP FOLDER: takes OPA's conformance cases out of its module. Standard library only."""

import sys
import zipfile
from pathlib import Path

INSIDE = "/v1/test/cases/testdata/v1/"


def main() -> None:
    archive, folder = zipfile.ZipFile(sys.argv[1]), Path(sys.argv[2])
    for name in archive.namelist():
        if INSIDE in name and name.endswith(".yaml"):
            # Only what follows a fixed part of the name, and no step upwards.
            target = folder / INSIDE.strip("/") / name.partition(INSIDE)[2]
            if not target.resolve().is_relative_to(folder.resolve()):
                sys.exit(f"dev: {name} leaves the folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(archive.read(name))


if __name__ == "__main__":
    main()
