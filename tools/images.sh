# The two images that tests and demo run: their ids, exported as CARNET_BASE_IMAGE and CARNET_BUSYBOX_IMAGE.
# shellcheck shell=sh
#
# carnet-base     slim Python: Docker Hub's, by digest, where a registry answers; else Debian's, by mmdebstrap
# carnet-busybox  one static binary: Docker Hub's, by digest; else Debian's
#
# A new digest or recipe takes a new tag, so that what is cached under the old one is never taken for it.

base_image=carnet-base:bookworm-1
base_reference=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b
busybox_image=carnet-busybox:1
busybox_reference=busybox:1.37.0-musl@sha256:5cec3fc171c87218698e85a52af7087de727372aae264a787b8112901a5b0092
images_epoch=1767225600 # 2026-01-01: every timestamp in an image made here

images_up() {
    CARNET_BASE_IMAGE=$(image "$base_image" "$base_reference" base_tar)
    CARNET_BUSYBOX_IMAGE=$(image "$busybox_image" "$busybox_reference" busybox_tar)
    export CARNET_BASE_IMAGE CARNET_BUSYBOX_IMAGE
}

images() { .venv/bin/python tools/images.py --host "$DOCKER_HOST" "$@"; }

# image NAME REFERENCE MAKE: the id of NAME; brought when the engine has none.
image() {
    tar=$cache/$(echo "$1" | tr : -).tar
    images id "$1" 2>/dev/null && return
    if [ ! -f "$tar" ]; then
        images pull "$1" "$2" && return
        # Without our locks: mmdebstrap hands descriptors to a shell that knows single digits only, and ours take three.
        "$3" "$tar.part" >&2 7>&- 8>&- 9>&-
        mv "$tar.part" "$tar"
    fi
    images load "$1" "$tar" --epoch "$images_epoch"
}

# Of all it writes, only the removed folder differs from run to run.
base_tar() {
    have mmdebstrap || install mmdebstrap debian-archive-keyring
    say "making $base_image with mmdebstrap: about a minute, once"
    SOURCE_DATE_EPOCH=$images_epoch TMPDIR=/tmp timeout 1200 mmdebstrap --quiet --variant=essential --include=python3 \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook='rm -r "$1"/usr/share/python3/debpython/__pycache__' --format=tar bookworm "$1" >"$cache/mmdebstrap.log" 2>&1 </dev/null || {
        tail -n 20 "$cache/mmdebstrap.log" >&2
        fail "mmdebstrap could not make $base_image (all it said: $cache/mmdebstrap.log)"
    }
}

busybox_tar() {
    folder=$(mktemp -d)
    have apt-get || fail "missing: a registry that answers (for $busybox_reference), or apt-get (for busybox-static)"
    say "making $busybox_image from Debian's busybox-static"
    chmod 755 "$folder" # apt fetches as a user of its own
    { (cd "$folder" && apt_get -qq download busybox-static) || { apt_get -qq update && (cd "$folder" && apt_get -qq download busybox-static); }; } &&
        dpkg-deb -x "$folder"/busybox-static_*.deb "$folder" ||
        fail "the package busybox-static could not be fetched"
    .venv/bin/python tools/images.py pack-busybox "$(find "$folder" -name busybox -type f -perm -u+x | head -n 1)" "$1" --epoch "$images_epoch"
    rm -rf "$folder"
}
