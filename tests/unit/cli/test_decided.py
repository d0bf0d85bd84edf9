"""A denial in words: verdict, rule, citation, what would be permitted; made of the decision and nothing else."""

from carnet.cli.decided import decision_lines, would_permit
from tests.unit.cli.values import body_of, denial, reason


def text_of(lines: object) -> list[str]:
    assert lines is not None
    return [line.text.strip() for line in lines]  # type: ignore[attr-defined]


def test_a_denial_says_rule_citation_parameters_and_fix() -> None:
    lines = text_of(decision_lines(denial()))
    assert lines[0] == "DENIED by EU-GDPR-CHV, ORG-ONLY"
    assert "deny    EU-GDPR-CHV in US" in lines
    assert "message.of.eu-gdpr-chv (permitted_without_basis: DE, FR)" in lines
    assert "cites C-EU-GDPR-CHV" in lines
    assert "-> Declare standard clauses." in lines
    assert not [line for line in lines if "fix_ids" in line]


def test_a_denial_says_what_would_be_permitted_by_the_one_rule_that_is_in_the_way() -> None:
    assert would_permit(denial()) == {"EU-GDPR-CHV": ("US",), "ORG-ONLY": ("DE", "FR")}
    lines = text_of(decision_lines(denial()))
    assert "were it not for ORG-ONLY: DE, FR" in lines
    # CN is blocked twice: no one rule opens it.
    assert not [line for line in lines if "CN" in line]


def test_a_region_is_not_promised_where_its_country_is_blocked_by_another_rule() -> None:
    blocked = {"EU-GDPR-CHV": ["UA"], "US-OFAC-EMB": ["CU", "UA-43"]}
    assert would_permit(denial(blocked=blocked, reasons=[])) == {
        "EU-GDPR-CHV": ("UA",),
        "US-OFAC-EMB": ("CU",),
    }
    alone = {"US-OFAC-EMB": ["UA", "UA-43"], "EU-GDPR-CHV": ["CN"]}
    assert would_permit(denial(blocked=alone, reasons=[]))["US-OFAC-EMB"] == ("UA", "UA-43")


def test_a_denial_that_blocks_no_place_promises_none() -> None:
    body = denial(blocked={}, reasons=[reason("ORG-ONLY")])
    assert would_permit(body) == {}
    assert "would be permitted" not in text_of(decision_lines(body))


def test_a_denial_with_no_reason_is_still_told_as_one() -> None:
    assert text_of(decision_lines(denial(reasons=[])))[0] == "DENIED by no rule that permits it"


def test_a_review_is_no_permission() -> None:
    lines = text_of(decision_lines(body_of(verdict="review")))
    assert lines[0] == "NEEDS REVIEW: once approved, permitted in DE, FR"
    assert not [line for line in lines if "were it not" in line or line.startswith("PERMITTED")]


def test_an_exemption_that_was_used_is_told() -> None:
    used = {"id": "tenants/1/exemptions/2", "rule": "EU-GDPR-CHV", "expires_ns": 4 * 10**18}
    lines = text_of(decision_lines(body_of(exemptions_used=[used])))
    assert [line for line in lines if line.startswith("exempt  from EU-GDPR-CHV until 2096")]


def test_a_permission_says_where_and_under_which_duties() -> None:
    lines = text_of(decision_lines(body_of(unverified_rows_used=["groups/EU"]), beside=("accelerators/H100",)))
    assert lines[0] == "PERMITTED in DE, FR"
    assert "duty    recipients_max 2, seen to by the client  (EU-GDPR-ART32)" in lines
    assert "used    data that nobody has verified: accelerators/H100, groups/EU" in lines
    assert not [line for line in lines if "would be" in line or "were it not" in line]
    assert [line for line in lines if line.startswith("note    NLA-1")]


def test_denials_come_before_duties_and_warnings() -> None:
    duty = reason("EU-GDPR-ART32") | {"effect": "oblige"}
    lines = text_of(decision_lines(denial(reasons=[duty, reason("ORG-ONLY", "DE")])))
    assert lines.index("deny    ORG-ONLY in DE") < lines.index("oblige  EU-GDPR-ART32")
    assert lines[0] == "DENIED by ORG-ONLY"
