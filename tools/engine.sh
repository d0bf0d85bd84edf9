# A Docker engine, exported as DOCKER_HOST: the one that answers, else a private one of this user's.
# shellcheck shell=sh
#
# The private engine serves every ./dev command of this user. Each holds the `users` lock shared for as long as it runs;
# the last one to leave stops the engine. So an engine never goes away under a command, and none is left behind. A
# command that was killed leaves its engine to the next one, which finds it, uses it and stops it.

# File descriptor 8 is the `users` lock, 9 the lock on starting and stopping: no child of ours may keep either.

engine=$cache/engine
engine_seconds_max=60

engine_up() {
    found=$(find_engine) && export DOCKER_HOST="$found" && return
    [ -z "${DOCKER_HOST:-}" ] || fail "no Docker engine answers at DOCKER_HOST=$DOCKER_HOST"
    have dockerd || bring_engine
    found=$(find_engine) && export DOCKER_HOST="$found" && return # installing docker.io may have started its service
    private_engine_up
}

answers() { .venv/bin/python tools/images.py --host "$1" ping 2>/dev/null; }

find_engine() {
    if [ -n "${DOCKER_HOST:-}" ]; then
        answers "$DOCKER_HOST" && echo "$DOCKER_HOST"
        return
    fi
    for host in unix:///var/run/docker.sock "$(docker_context)"; do
        [ -n "$host" ] && answers "$host" && echo "$host" && return
    done
    return 1
}

docker_context() {
    have docker && env -u DOCKER_HOST timeout 5 docker context inspect --format '{{.Endpoints.docker.Host}}' 2>/dev/null
}

bring_engine() {
    [ "$(uname -s)" = Linux ] && can_install ||
        fail "missing: a Docker engine that answers. Start yours (or install Docker: https://docs.docker.com/engine/install/)," \
            "name it in DOCKER_HOST if it is not at /var/run/docker.sock, or run this command as root on Debian or Ubuntu."
    set -- docker.io iptables ca-certificates
    [ "$(cat /sys/module/apparmor/parameters/enabled 2>/dev/null)" != Y ] || set -- "$@" apparmor
    install "$@"
}

private_engine_up() {
    [ "$(id -u)" = 0 ] && have flock && have setsid ||
        fail "missing: a Docker engine that answers. Start the service (systemctl start docker) and join its group," \
            "name an engine in DOCKER_HOST, or run this command as root, which starts a private one."
    mkdir -p "$engine"
    exec 8>>"$engine/users" 9>>"$engine/start"
    flock -w 300 9 || fail "another ./dev has been starting an engine for 5 minutes ($engine/start)"
    host=$(cat "$engine/host" 2>/dev/null || true)
    if [ -z "$host" ] || ! answers "$host"; then
        stop_engine
        start_engine
    fi
    flock -s 8
    flock -u 9
    engine_is_private=yes
    DOCKER_HOST=$(cat "$engine/host")
    export DOCKER_HOST
}

start_engine() {
    say "starting a private Docker engine (data in $engine/data)"
    run=$(mktemp -d /tmp/carnet-XXXXXX)
    echo "unix://$run/docker.sock" >"$engine/host"
    # Namespaces of its own: a system containerd, where one runs, is shared with whatever else uses it.
    setsid dockerd --data-root "$engine/data" --exec-root "$run/exec" --pidfile "$run/docker.pid" \
        --host "unix://$run/docker.sock" --bridge=none --iptables=false --ip6tables=false --ip-masq=false \
        --containerd-namespace carnet --containerd-plugins-namespace carnet-plugins \
        >"$engine/log" 2>&1 </dev/null 7>&- 8>&- 9>&- &
    echo $! >"$engine/pid"
    waited=0
    until answers "unix://$run/docker.sock"; do
        kill -0 "$(cat "$engine/pid")" 2>/dev/null && [ $waited -lt $engine_seconds_max ] || engine_did_not_start
        sleep 1
        waited=$((waited + 1))
    done
    .venv/bin/python tools/images.py --host "unix://$run/docker.sock" sweep || engine_did_not_start
}

engine_did_not_start() {
    tail -n 20 "$engine/log" >&2
    stop_engine
    fail "the private Docker engine did not start (all it said: $engine/log)"
}

# Stops the engine that `start_engine` recorded, after making sure that the pid is still that engine.
stop_engine() {
    pid=$(cat "$engine/pid" 2>/dev/null) || return 0
    if is_our_engine "$pid"; then
        kill "$pid" 2>/dev/null || true
        waited=0
        while is_our_engine "$pid" && [ $waited -lt 200 ]; do
            sleep 0.1
            waited=$((waited + 1))
        done
        is_our_engine "$pid" && kill -9 "$pid"
    fi
    run=$(sed -n 's,^unix://\(/tmp/carnet-[A-Za-z0-9]*\)/docker.sock$,\1,p' "$engine/host")
    [ -z "$run" ] || remove_run "$run"
    rm -f "$engine/pid" "$engine/host"
}

# Files only: what dockerd left mounted is not ours to walk into.
remove_run() {
    awk -v run="$1/" 'index($2, run) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r umount -l
    rm -rf --one-file-system "$1"
}

is_our_engine() { { tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null | grep -qF -- "dockerd --data-root $engine/data "; }

# At the end of every command: leave, and stop the engine if nobody else is using it.
engine_down() {
    [ -n "${engine_is_private:-}" ] || return 0
    flock -w 60 9 || return 0
    flock -u 8
    flock -n 8 && stop_engine
    flock -u 8
    flock -u 9
}
