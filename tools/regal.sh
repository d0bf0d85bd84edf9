# Regal, the linter for Rego, exported as CARNET_REGAL: on PATH, else the pinned release, else built by a new enough Go.
# Only the pinned version counts: another one has other rules. Where none can be had, what needs it is skipped, and says so.
# shellcheck shell=sh

regal_version=0.39.0
regal_module_sum=h1:Ltj0pAdE1XYNAmuvp8ZMFilB+s3p5b1tH5VUz60DDvo=

regal_found() {
    CARNET_REGAL=$(find_regal) || {
        regal_folder=$cache/regal-$regal_version
        release_regal || build_regal || {
            unset CARNET_REGAL
            return 1
        }
        CARNET_REGAL=$regal_folder/regal
    }
    export CARNET_REGAL
}

find_regal() {
    [ ! -x "$cache/regal-$regal_version/regal" ] || {
        echo "$cache/regal-$regal_version/regal"
        return
    }
    for found in "${CARNET_REGAL:-}" "$(command -v regal)"; do
        [ -x "$found" ] && [ "$("$found" version | sed -n 's/^Version: *//p')" = "$regal_version" ] &&
            echo "$found" && return
    done
    return 1
}

# The asset's checksum is in tools/regal.sha256, or the asset is not fetched.
release_regal() {
    asset=$(regal_asset) && sum=$(awk -v asset="$asset" '$2 == asset { print $1 }' tools/regal.sha256) && [ -n "$sum" ] ||
        return 1
    say "fetching Regal $regal_version ($asset)"
    mkdir -p "$regal_folder"
    python3 tools/fetch.py "https://github.com/open-policy-agent/regal/releases/download/v$regal_version/$asset" \
        "$regal_folder/regal.part" "$sum" && chmod 755 "$regal_folder/regal.part" &&
        mv "$regal_folder/regal.part" "$regal_folder/regal"
}

regal_asset() {
    case $(uname -s)/$(uname -m) in
    Linux/x86_64) echo regal_Linux_x86_64 ;;
    Linux/aarch64) echo regal_Linux_arm64 ;;
    Darwin/x86_64) echo regal_Darwin_x86_64 ;;
    Darwin/arm64) echo regal_Darwin_arm64 ;;
    *) return 1 ;;
    esac
}

# Built inside its own module, so that its go.sum says what every dependency of it must be.
build_regal() {
    go_is_new_enough || go_up || return 1 # of tools/opa.sh: both ask for the same
    said=$(GOTOOLCHAIN=local go mod download -json "github.com/open-policy-agent/regal@v$regal_version" 2>/dev/null) || return 1
    printf '%s' "$said" | grep -qF "$regal_module_sum" || fail "Regal's module is not the pinned one"
    say "building Regal $regal_version with $(command -v go): some minutes, once"
    rm -rf "$regal_folder/part"
    mkdir -p "$regal_folder/part"
    cp -R "$(printf '%s\n' "$said" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",$/\1/p')/." "$regal_folder/part"
    chmod -R u+w "$regal_folder/part"
    (cd "$regal_folder/part" && GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS='-trimpath -buildvcs=false' go build -o ../regal.part .) \
        >"$regal_folder/log" 2>&1 || {
        tail -n 5 "$regal_folder/log" >&2
        return 1
    }
    mv "$regal_folder/regal.part" "$regal_folder/regal"
    rm -rf "$regal_folder/part"
}
