# What every part of ./dev uses: where things are kept, how they are said, how a missing program is brought.
# shellcheck shell=sh

cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/carnet

say() { printf 'dev: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# at_least 1.21.3 1.22.2: is the second as new as the first?
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }

can_install() { [ "$(id -u)" = 0 ] && have apt-get; }

# install PACKAGE...: as root on Debian or Ubuntu; anywhere else it says what to install, and stops.
install() {
    can_install || fail "missing: $*. Install it with your package manager (Debian, Ubuntu: apt-get install $*)," \
        "or run this command as root on Debian or Ubuntu."
    say "installing $*"
    mkdir -p "$cache"
    apt_install "$@" >"$cache/apt.log" 2>&1 && return
    { apt_get update && apt_install "$@"; } >"$cache/apt.log" 2>&1 && return
    tail -n 20 "$cache/apt.log" >&2
    fail "apt-get could not install $* (all it said: $cache/apt.log)"
}

apt_get() { DEBIAN_FRONTEND=noninteractive timeout 900 apt-get -o DPkg::Lock::Timeout=300 "$@" </dev/null; }

apt_install() { apt_get install -y --no-install-recommends "$@"; }
