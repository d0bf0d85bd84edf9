"""METADATA is read as OPA reads it, and what two YAML readers could hear differently is refused."""

import pytest

from carnet.core.errors import FieldInvalid
from policy import gate, metadata
from policy.bundle import Bundle
from policy.catalogue import row_of

RULE = """package x

# METADATA
# title: A title, with commas: none of them odd
# description: |
#   Words of any kind: "quoted", [listed].
#
#   A second paragraph.
# custom:
#   id: X-ONE
#   citations: [C-A-1, C-B-2]
#   effective_from: "2026-01-01"
#   effective_to: null
#   exemptible: false
a := 1
"""


def titled(line: str) -> metadata.Block:
    [block] = metadata.blocks("x.rego", f"# METADATA\n# title: t\n# custom:\n#   {line}\na := 1\n")
    return block


def test_a_block_is_read_with_the_line_of_its_rule() -> None:
    [block] = metadata.blocks("x.rego", RULE.replace("commas: none of them", "commas and nothing"))
    assert RULE.splitlines()[block.line - 1] == "a := 1"
    assert block.title == "A title, with commas and nothing odd"
    assert block.scope == "rule"
    assert block.custom == {
        "id": "X-ONE",
        "citations": ["C-A-1", "C-B-2"],
        "effective_from": "2026-01-01",
        "effective_to": None,
        "exemptible": False,
    }


def test_our_own_rules_read_as_opa_reads_them() -> None:
    bundle = Bundle.load()
    found = {}
    for path, text in bundle.rules.items():
        names = {gate.span_of(rule)["line"]: gate.rule_name(rule) for rule in gate.parsed_rules(path, text)}
        for block in metadata.blocks(path, text.decode()):
            if block.scope == "rule":
                where = [*gate.package_of(path, text), *names[block.line].split(".")]
                name, row = row_of({"title": block.title, "custom": block.custom}, where)
                found[name] = row
    # rules.json is made from what `opa inspect` says, and another test holds it to that.
    assert found == bundle.rows("rules")


@pytest.mark.parametrize(
    "value",
    ["2026-01-01", "1", "1.5", "-1", "yes", "No", "NULL", "~", "[]", "[a,b]", "[1]", "[yes]", "[a, [b]]", "{a: b}",
     "'x'", '"a\\n"', '"a" b', "a: b", "a #b", "&x", "*x", "!x", "|", ">", "@x", "a ", " a", "", "a:"],
)  # fmt: skip
def test_a_value_that_readers_could_hear_otherwise_is_refused(value: str) -> None:
    assert titled("key: plain").custom == {"key": "plain"}, "the control"
    with pytest.raises(FieldInvalid):
        titled(f"key: {value}")


@pytest.mark.parametrize(
    "text",
    [
        "# METADATA\na := 1\n",
        "# METADATA\n# title: t\n# title: u\na := 1\n",
        "# METADATA\n# title: t\n# surprise: u\na := 1\n",
        "# METADATA\n# title: t\n# scope: subpackages\na := 1\n",
        "# METADATA\n# title: t\n# scope: document\na := 1\n",
        "# METADATA\n# title: null\na := 1\n",
        "# METADATA\n# title:\na := 1\n",
        "# METADATA\n# title: t\n# custom: x\na := 1\n",
        "# METADATA\n# title: t\n# custom:\n#   a: b\n#   a: c\na := 1\n",
        "# METADATA\n# title: t\n# custom:\n#     a: b\na := 1\n",
        "# METADATA\n# title: t\n# custom:\n#\ta: b\na := 1\n",
        "# METADATA\n# title: t\n#   a: b\na := 1\n",
        "# METADATA\n#title: t\na := 1\n",
        "# METADATA\n# title: |\n#   t\na := 1\n",
        "# METADATA\n# title: t\n# description:\na := 1\n",
        "# METADATA\n# title: t\n" + "# description: |\n" + "#   x\n" * 64 + "a := 1\n",
    ],
)
def test_what_is_no_block_is_refused_with_its_place(text: str) -> None:
    with pytest.raises(FieldInvalid, match=r"^x\.rego:[0-9]+: ") as caught:
        metadata.blocks("x.rego", text)
    assert caught.value.metadata["field"] == "x.rego"
