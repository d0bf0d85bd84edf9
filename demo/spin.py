"""A small job for the demo's worst day: it waits, and writes a result of the size that it is told."""

import json
import os
import pathlib
import sys
import time

number, seconds, size = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
print(f"job {number} began", flush=True)
time.sleep(seconds)
out = pathlib.Path(os.environ["CARNET_OUTPUT"])
(out / "number.json").write_text(json.dumps({"number": number}))
if size:
    (out / "ballast").write_bytes(os.urandom(size))
