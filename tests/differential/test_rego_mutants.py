"""The mutants of a policy are what they should be, and the tests of our rules notice some of them."""

import pytest

from policy.bundle import Bundle
from tests.differential.__main__ import equivalents
from tests.differential.rego_mutants import Mutant, Trial, mutants
from tests.opa_support import opa_binary

POLICY = b"""package carnet.sample

a if {
	input.n > 3
	not input.b
	input.c == "yes"
}

s := {"x", "y"} | input.s

d := s - {"x"}

f(1) := true

f(2) := false
"""


def lines() -> dict[str, str]:
    found = {}
    for mutant in mutants("carnet/sample/sample.rego", POLICY):
        before, after = POLICY.decode().splitlines(), mutant.text.decode().splitlines()
        found[mutant.change] = next((b.strip() for a, b in zip(before, after, strict=False) if a != b), "")
    return found


def test_every_kind_of_mistake_is_made_once_where_it_can_be() -> None:
    assert lines() == {
        "condition input.n > 3 gone": "true",
        "Gt to >=": "input.n >= 3",
        "3 to 4": "input.n > 4",
        "condition not input.b gone": "true",
        "not gone": "input.b",
        'condition input.c == "yes" gone': "true",
        "Eq to !=": 'input.c != "yes"',
        "Union to &": 's := {"x", "y"} & input.s',
        'member "x" gone': 's := {"y"} | input.s',
        'member "y" gone': 's := {"x"} | input.s',
        "Sub not taken": "d := s",
        "clause of f gone": "",
        "1 to 2": "f(2) := true",
        "2 to 3": "f(3) := false",
        "True turned": "f(1) := false",
        "False turned": "f(2) := true",
    }


def test_every_mutant_that_is_listed_as_equivalent_is_one_that_there_is_and_says_why() -> None:
    rules = Bundle.load().rules
    names = {mutant.name(text) for path, text in rules.items() for mutant in mutants(path, text)}
    assert [name for name in equivalents() if name not in names] == []
    assert all(len(reason) > 20 for reason in equivalents().values())


@pytest.mark.opa
def test_a_mistake_in_our_rules_is_noticed_and_no_change_is_not() -> None:
    path = "carnet/saudi/saudi.rego"
    text = Bundle.load().rules[path]
    trial = Trial(opa_binary())
    try:
        assert trial.noticed(Mutant(path=path, line=1, change="none", text=text)) is False
        assert trial.noticed(Mutant(path=path, line=1, change="broken", text=text + b"\nx := ((\n")) is None
        wrong = text.replace(b'"SA_BINDING"}', b'"SA_CLAUSES"}')
        assert wrong != text
        assert trial.noticed(Mutant(path=path, line=1, change="one", text=wrong)) is True
        # What was tried before is put back.
        assert trial.noticed(Mutant(path=path, line=1, change="none", text=text)) is False
    finally:
        trial.close()
