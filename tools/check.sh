# ./dev check: every step is named and runs, whatever the ones before it said; the end tells which failed.
# shellcheck shell=sh

check() {
    failed=
    step "ruff check" .venv/bin/ruff check .
    step "ruff format" .venv/bin/ruff format --check .
    step "mypy" .venv/bin/mypy
    step "generated code is current" generated_is_current
    step "buf lint" lint_protos
    step "buf breaking" compare_protos
    step "opa check" "$CARNET_OPA" check --strict policy/rego
    step "opa fmt" "$CARNET_OPA" fmt --list --fail policy/rego
    step "opa test" test_rules
    step "regal" lint_rules
    step "shellcheck" check_shell
    [ -z "$failed" ] || say "failed:$failed"
    [ -z "$failed" ]
}

step() {
    name=$1
    shift
    printf '%s\n' "== $name"
    "$@" </dev/null || failed="$failed $name;"
}

lint_protos() { buf_over_image lint; }

# Before the first release the protocol may still change; from then on, never under those who use it.
compare_protos() {
    released=$(git describe --tags --abbrev=0 --match 'v[0-9]*' 2>/dev/null) || {
        echo "skipped: no release to compare with yet"
        return 0
    }
    old=$(mktemp -d)
    git archive "$released" proto/carnet | tar -x -C "$old" && generator "$old/old.binpb" --image --root "$old/proto" &&
        buf_over_image breaking --against "$old/old.binpb"
    code=$?
    rm -rf "$old"
    return $code
}

# buf_over_image VERB [OPTION...]: on the descriptor image of our protos and all they import.
buf_over_image() {
    verb=$1
    shift
    scratch=$(mktemp -d)
    generator "$scratch/image.binpb" --image && .venv/bin/buf "$verb" "$scratch/image.binpb" --config buf.yaml "$@"
    code=$?
    rm -rf "$scratch"
    return $code
}

# The rules and their tests, over the data document that the gateway gives an engine.
test_rules() {
    scratch=$(mktemp -d)
    .venv/bin/python -c 'import pathlib, sys; from policy.bundle import Bundle; Bundle.load().write(pathlib.Path(sys.argv[1]))' \
        "$scratch" && "$CARNET_OPA" test --timeout 60s policy/rego "$scratch/data.json"
    code=$?
    rm -rf "$scratch"
    return $code
}

# Regal's own rules and ours (policy/.regal), which are tested first.
lint_rules() {
    regal_found || {
        echo "skipped: regal can not be had here"
        return 0
    }
    "$CARNET_REGAL" test policy/.regal/rules && "$CARNET_REGAL" lint policy/rego policy/examples
}

check_shell() { .venv/bin/shellcheck -x -a -e SC2015,SC2016 dev .ci/run; }
