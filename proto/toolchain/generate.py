"""Writes carnet/v1 and buf/validate from the .proto files, and the descriptor image that buf reads.

Runs in the environment of the lock file beside it, so that the same sources give the same bytes everywhere:

    generate.py OUT            every generated file, under OUT
    generate.py OUT --image    OUT itself: one FileDescriptorSet of proto/ with all it imports

Nothing is downloaded: `buf/validate/validate.proto` comes as a descriptor out of the protovalidate wheel, and the
google.rpc and google.api sources come out of the googleapis-common-protos wheel.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import google.rpc.status_pb2
import grpc_tools
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc
from protovalidate._gen.buf.validate import validate_pb

PROTO_ROOT = Path(__file__).resolve().parent.parent
VALIDATE = "buf/validate/validate.proto"
INCLUDES = (
    PROTO_ROOT,
    Path(google.rpc.status_pb2.__file__).parents[2],
    Path(grpc_tools.__file__).parent / "_proto",
)


def sources(root: Path) -> list[str]:
    """Our .proto files, named as an import statement would name them."""
    return sorted(path.relative_to(root).as_posix() for path in (root / "carnet").rglob("*.proto"))


def run(arguments: list[str]) -> None:
    """protoc, which must succeed: a warning it prints stays on standard error."""
    code = protoc.main(["protoc", *arguments])
    if code:
        sys.exit(code)


def imports(scratch: Path) -> Path:
    """A descriptor set of everything that `sources` and validate.proto import, and of validate.proto itself.

    protoc takes either sources or descriptor sets for one import, so the wheel's descriptor is completed by the
    files it imports in turn.
    """
    known = scratch / "known.binpb"
    wheel = FileDescriptorSet()
    wheel.file.add().ParseFromString(validate_pb.desc().proto.to_binary())
    dependencies = list(wheel.file[0].dependency)
    run([*(f"-I{path}" for path in INCLUDES), f"--descriptor_set_out={known}", "--include_imports", *dependencies])
    complete = FileDescriptorSet.FromString(known.read_bytes())
    complete.file.extend(wheel.file)
    target = scratch / "validate.binpb"
    target.write_bytes(complete.SerializeToString(deterministic=True))
    return target


def generate(out: Path, *, root: Path, known: Path) -> None:
    """Modules, stubs and service stubs for our files; modules and stubs alone for validate.proto."""
    base = [f"-I{root}", *(f"-I{path}" for path in INCLUDES[1:]), f"--descriptor_set_in={known}"]
    messages = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
    services = [f"--grpc_python_out={out}", f"--mypy_grpc_out=quiet:{out}"]
    run([*base, *messages, VALIDATE])
    for ours in sources(root):
        serves = any(line.startswith("service ") for line in (root / ours).read_text("utf-8").splitlines())
        run([*base, *messages, *(services if serves else []), ours])


def image(out: Path, *, root: Path, known: Path) -> None:
    """What buf lints and compares: our files with their comments and all they import."""
    base = [f"-I{root}", *(f"-I{path}" for path in INCLUDES[1:]), f"--descriptor_set_in={known}"]
    run([*base, f"--descriptor_set_out={out}", "--include_imports", "--include_source_info", *sources(root)])


def main() -> None:
    parser = argparse.ArgumentParser(description="generate protobuf code")
    parser.add_argument("out", type=Path)
    parser.add_argument("--root", type=Path, default=PROTO_ROOT, help="the folder that holds carnet/v1/*.proto")
    parser.add_argument("--image", action="store_true", help="write one descriptor set instead of code")
    chosen = parser.parse_args()
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with tempfile.TemporaryDirectory() as scratch:
        known = imports(Path(scratch))
        write = image if chosen.image else generate
        write(chosen.out.resolve(), root=chosen.root.resolve(), known=known)


if __name__ == "__main__":
    main()
