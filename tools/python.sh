# The locked Python environment: uv from PATH, or uv's pinned version in the cache folder; then .venv of the checkout.
# shellcheck shell=sh

uv_version=0.13.9
uv_version_min=0.9.0

# The system's certificates where it has any: a network's own authority is known there, and in no package of Python's.
trust_system_certificates() {
    bundle=/etc/ssl/certs/ca-certificates.crt
    [ -f "$bundle" ] || return 0
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}" PIP_CERT="${PIP_CERT:-$bundle}"
}

python_up() {
    trust_system_certificates
    uv=$(find_uv) || uv=$(bring_uv) || exit 1
    export CARNET_UV="$uv" # the tests build wheels with it
    sync . || fail "the locked environment could not be made in .venv"
}

generator_up() { sync proto/toolchain || fail "the generator's environment could not be made in proto/toolchain/.venv"; }

sync() { UV_PYTHON_DOWNLOADS=never UV_PROJECT_ENVIRONMENT=.venv "$uv" sync --frozen --quiet --directory "$1"; }

find_uv() {
    for found in "$(command -v uv)" "$cache/uv-$uv_version/bin/uv"; do
        [ -x "$found" ] && at_least "$uv_version_min" "$("$found" --version | cut -d ' ' -f 2)" && echo "$found" && return
    done
    return 1
}

find_python() {
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$python" && return
    done
    return 1
}

bring_uv() {
    can_install && ! find_python >/dev/null && install python3 python3-venv >&2
    python=$(find_python) || fail "missing: Python 3.11 or newer, as python3 or under its own name such as python3.11"
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install "$python-venv" >&2
    say "installing uv $uv_version into $cache"
    folder=$cache/uv-$uv_version
    mkdir -p "$cache"
    { "$python" -m venv --clear "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check \
        "uv==$uv_version"; } >&2 ||
        fail "uv $uv_version could not be installed: see https://docs.astral.sh/uv/ and put uv on PATH"
    echo "$folder/bin/uv"
}
