# Generated code: written by the environment in proto/toolchain, committed, and compared by ./dev check.
# shellcheck shell=sh

generator() { proto/toolchain/.venv/bin/python proto/toolchain/generate.py "$@"; }

generate() {
    rm -f carnet/v1/*_pb2*.py carnet/v1/*_pb2*.pyi buf/validate/*_pb2*.py buf/validate/*_pb2*.pyi
    generator .
}

generated_is_current() {
    fresh=$(mktemp -d)
    mkdir -p "$fresh/carnet/v1" "$fresh/buf/validate"
    code=0
    generator "$fresh" && compare "$fresh" carnet/v1 && compare "$fresh" buf/validate || code=1
    rm -rf "$fresh"
    [ $code = 0 ] || echo "run ./dev gen"
    return $code
}

compare() { diff -r -u -x __init__.py -x __pycache__ "$2" "$1/$2"; }
