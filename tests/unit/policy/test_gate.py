"""The profile gate: every kind of thing that it refuses, each shown beside a policy that it lets pass."""

import pytest

from carnet.core.errors import FieldInvalid
from policy import gate
from policy.bundle import Bundle

RULES = Bundle.load().rules
GOOD = """package acme.overlay

import data.carnet.places

limit := 3

few(list) if count(list) < limit

found contains place if {
    some place in input.places
    places.is_region(place)
    not few(input.places)
}

rows := {key | some key, row in data.carnet.tables.classes.rows; row.status != "seen"}
"""

REFUSED = {
    "a call into the network": ("a := http.send({})", "http.send is not in the profile"),
    "the machine's clock": ("a := time.now_ns()", "time.now_ns is not in the profile"),
    "chance": ('a := rand.intn("x", 3)', "rand.intn is not in the profile"),
    "the environment": ("a := opa.runtime()", "opa.runtime is not in the profile"),
    "a bare walk": ("a := [x | walk(input, x)]", "walk is not in the profile"),
    "a token that Rego would verify": ('a := io.jwt.decode("x")', "io.jwt.decode is not in the profile"),
    "a member with its key": ("a if 1, 2 in input.x", "a member with its key is not in the profile"),
    "a float": ("a := 1.5", "a number is no integer of 64 bits"),
    "2^64": ("a := 18446744073709551616", "a number is no integer of 64 bits"),
    "division": ("a := 4 / 2", "ArithExpr.Div is not in the profile"),
    "multiplication": ("a := 4 * 2", "ArithExpr.Mul is not in the profile"),
    "a remainder": ("a := 4 % 2", "ArithExpr.Mod is not in the profile"),
    "a sign before a name": ("a := -limit", "UnaryExpr is not in the profile"),
    "unification": ("a if { x = input.x; x == 1 }", "AssignExpr.Eq is not in the profile"),
    "an input that is put in place of the real one": (
        "a if places.is_region(input.x) with input as {}",
        "With is not in the profile",
    ),
    "all of data": ("a := data", "a reference into data is written out"),
    "a part of data that a variable names": ("a := data.carnet[input.x]", "a reference into data is written out"),
    "a table that a variable names": ("a := data.carnet.tables[input.x]", "a reference into data is written out"),
    "a rule that is not there": ("a := data.carnet.places.nothing", "a reference into data is written out"),
    "a function that is not there": ("a := places.nothing(1)", "places.nothing is not in the profile"),
    "a rule that reads itself": ("a if not a", "acme.overlay.a depends on itself"),
    "rules that read each other": ("a if b\n\nb if a", "acme.overlay.a depends on itself"),
    "a function that calls itself": ("a(x) := a(x + 1)", "acme.overlay.a depends on itself"),
    "a parameter with an import's name": ("a(places) := 1", "the variable places bears the name of an import"),
    "a local with an import's name": ("a if some places in input.x", "the variable places bears the name of an import"),
    "a rule with an import's name": ("places := 1", "the rule places bears the name of an import"),
    "an assignment to an import's name": ("a if { places := 1 }", "the variable places bears the name of an import"),
    "an every with an import's name": (
        "a if every places in input.x { places }",
        "the variable places bears the name of an import",
    ),
}


def refusals(text: str) -> list[str]:
    return [str(found) for found in gate.refusals({**RULES, "acme/overlay.rego": text.encode()})]


def test_the_control_a_policy_within_the_profile_passes() -> None:
    assert refusals(GOOD) == []


def test_our_own_rules_pass() -> None:
    assert gate.refusals(RULES) == ()


@pytest.mark.parametrize("name", REFUSED)
def test_what_engines_differ_on_is_refused_where_it_stands(name: str) -> None:
    text, complaint = REFUSED[name]
    found = refusals(f"{GOOD}\n{text}\n")
    assert found
    assert all(line.startswith("acme/overlay.rego:") for line in found)
    assert any(complaint in line for line in found), found
    # The line is the one that was added, or one of them.
    assert any(int(line.split(":")[1]) > GOOD.count("\n") for line in found)


@pytest.mark.parametrize(
    "imported", ["data.carnet.tables.classes", "data.carnet.nothing", "data.carnet", "input.job", "data"]
)
def test_only_packages_and_the_tables_are_imported(imported: str) -> None:
    found = refusals(f"package acme.overlay\n\nimport {imported}\n\na := 1\n")
    assert found == ["acme/overlay.rego:3:1: what is imported is neither a package nor data.carnet.tables"]


def test_an_import_under_another_name_is_followed() -> None:
    aliased = GOOD.replace("import data.carnet.places", "import data.carnet.places as where").replace(
        "places.is", "where.is"
    )
    assert refusals(aliased) == []
    assert refusals(aliased + "\na(where) := 1\n") != []


def test_recursion_over_two_files_is_found() -> None:
    first = b"package acme.one\n\nimport data.acme.two\n\na if two.b\n"
    second = b"package acme.two\n\nimport data.acme.one\n\nb if one.a\n"
    found = [str(refusal) for refusal in gate.refusals({"one.rego": first, "two.rego": second})]
    assert found == ["one.rego:5:1: acme.one.a depends on itself", "two.rego:5:1: acme.two.b depends on itself"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b"", "does not parse"),
        (b"package x\n\na := ((", "does not parse"),
        (b"package x\n\na := \xff", "the text is not UTF-8"),
        (b"package x\n\na := " + b"[" * 40 + b"]" * 40, "brackets are nested deeper than 32"),
        (b"package x\n\na := " + b"[" * 200_000, "brackets are nested deeper than 32"),
        (b"# " + b"x" * gate.policy_bytes_max, "a policy has at most 262144 bytes"),
    ],
)
def test_what_does_not_parse_is_refused(text: bytes, complaint: str) -> None:
    [found] = gate.refusals({"x.rego": text})
    assert complaint in found.text


def test_a_test_is_no_policy() -> None:
    [found] = gate.refusals({"x_test.rego": b"package x\n\na := 1\n"})
    assert found.text == "a test is no policy"


def test_check_raises_the_first() -> None:
    with pytest.raises(FieldInvalid, match=r"acme/overlay\.rego:1:1: does not parse") as caught:
        gate.check({"acme/overlay.rego": b"package"})
    assert caught.value.metadata["field"] == "acme/overlay.rego"


def test_imports_are_written_out_where_they_are_used_and_nowhere_else() -> None:
    strange = 'limit := {"places": "places.é", "n": 3}.n'
    text = GOOD.replace("limit := 3", f"{strange}\n\n# places.is_region\na := input.places")
    found = gate.without_imports("acme/overlay.rego", text.encode()).decode()
    assert found.count("data.carnet.places.is_region") == 1
    assert "import" not in found
    for kept in (strange, "# places.is_region", "some place in input.places", "a := input.places"):
        assert kept in found
    assert found.count("\n") == text.count("\n")
    assert gate.refusals({**RULES, "acme/overlay.rego": found.encode()}) == ()
    with pytest.raises(FieldInvalid):
        gate.without_imports("acme/overlay.rego", b"package")
