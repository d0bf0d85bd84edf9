# The locked Python environment: uv from PATH, or uv's pinned version in the cache folder; then .venv of the checkout.
# shellcheck shell=sh

uv_version=0.13.9
uv_version_min=0.9.0

python_up() {
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

bring_uv() {
    have python3 || install python3 python3-venv
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "missing: Python 3.11 or newer as python3 (found $(python3 --version))"
    python3 -c 'import ensurepip, venv' 2>/dev/null || install python3-venv
    say "installing uv $uv_version into $cache"
    folder=$cache/uv-$uv_version
    mkdir -p "$cache"
    { python3 -m venv --clear "$folder" && "$folder/bin/pip" install --quiet --disable-pip-version-check \
        "uv==$uv_version"; } >&2 ||
        fail "uv $uv_version could not be installed: see https://docs.astral.sh/uv/ and put uv on PATH"
    echo "$folder/bin/uv"
}
