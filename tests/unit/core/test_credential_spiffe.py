"""SPIFFE ids (SPIFFE-ID.md, sections 2.1 to 2.3): which texts are ids, and which are runners."""

import pytest

from carnet.core.errors import CredentialInvalid
from carnet.core.spiffe import RunnerId, SpiffeId, check_trust_domain

UUID = "6f1c9f5e-0a34-4a57-9d1e-7f6d3a1b2c3d"
LONGEST = "spiffe://gpu.example/" + "p" * (2048 - len("spiffe://gpu.example/"))


@pytest.mark.parametrize(
    "text",
    [
        "spiffe://gpu.example/a",
        "spiffe://gpu-fr_1.example/client/laptop.2",
        "spiffe://1/A-Z_a.z",
        "spiffe://gpu.example/.../.a/a.",
        f"spiffe://{'d' * 255}/a",
        LONGEST,
    ],
)
def test_an_id_prints_as_the_text_it_was_read_from(text: str) -> None:
    found = SpiffeId.parse(text)
    assert str(found) == text
    assert f"spiffe://{found.trust_domain}{found.path}" == text
    assert found.segments == tuple(text.split("/")[3:])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "spiffe:/gpu.example/a",
        "SPIFFE://gpu.example/a",
        "https://gpu.example/a",
        "gpu.example/a",
        LONGEST + "p",
    ],
    ids=["nothing", "one slash", "upper case", "https", "no scheme", "too long"],
)
def test_a_text_of_another_scheme_or_too_long_is_refused_before_it_is_taken_apart(text: str) -> None:
    with pytest.raises(CredentialInvalid, match="another scheme"):
        SpiffeId.parse(text)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a/",
        "//a",
        "/a//b",
        "/.",
        "/..",
        "/a/./b",
        "/a/../b",
        "/a%2Fb",
        "/a b",
        "/a?b",
        "/a#b",
        "/é",
        "/a\n",
        "/a/b\0",
    ],
)
def test_attack_a_path_that_could_be_read_in_two_ways(path: str) -> None:
    with pytest.raises(CredentialInvalid, match="path"):
        SpiffeId.parse(f"spiffe://gpu.example{path}")


@pytest.mark.parametrize("path", ["a", "a/b", "gpu.example/a"])
def test_a_path_that_does_not_begin_with_a_slash_is_no_path(path: str) -> None:
    with pytest.raises(CredentialInvalid, match="path"):
        SpiffeId(trust_domain="gpu.example", path=path)


@pytest.mark.parametrize(
    "trust_domain",
    [
        "",
        "GPU.example",
        "user@gpu.example",
        "gpu.example:443",
        "gpü.example",
        "gpu example",
        "d" * 256,
        "gpu.example\n",
    ],
)
def test_attack_a_trust_domain_with_a_user_a_port_or_another_form(trust_domain: str) -> None:
    with pytest.raises(CredentialInvalid, match="trust domain"):
        SpiffeId.parse(f"spiffe://{trust_domain}/a")
    with pytest.raises(CredentialInvalid, match="trust domain"):
        RunnerId(trust_domain=trust_domain, jurisdiction="FR", runner=UUID)
    with pytest.raises(CredentialInvalid, match="trust domain"):
        check_trust_domain(trust_domain)


def test_an_id_made_from_its_parts_is_2048_letters_at_most() -> None:
    path = SpiffeId.parse(LONGEST).path
    assert len(str(SpiffeId(trust_domain="gpu.example", path=path))) == 2048
    with pytest.raises(CredentialInvalid, match="too long"):
        SpiffeId(trust_domain="gpu.example", path=path + "p")


def test_a_runner_names_its_operator_its_place_and_itself() -> None:
    text = f"spiffe://gpu.example/j/FR-IDF/runner/{UUID}"
    runner = RunnerId.parse(text)
    assert (runner.trust_domain, runner.jurisdiction, runner.country, runner.runner) == (
        "gpu.example",
        "FR-IDF",
        "FR",
        UUID,
    )
    assert str(runner) == text


@pytest.mark.parametrize(
    "path",
    [
        f"/J/FR/runner/{UUID}",
        f"/j/FR/runners/{UUID}",
        f"/j/FR/client/{UUID}",
        f"/j/FR/runner/{UUID}/more",
        f"/x/j/FR/runner/{UUID}",
        "/j/FR/runner",
        f"/j/fr/runner/{UUID}",
        f"/j/FRA/runner/{UUID}",
        f"/j/FR/runner/{UUID.upper()}",
        f"/j/FR/runner/{UUID}0",
        f"/j/FR/runner/{UUID.replace('-', '')}",
        "/client/laptop",
    ],
)
def test_attack_an_id_that_is_nearly_a_runners(path: str) -> None:
    with pytest.raises(CredentialInvalid):
        RunnerId.parse(f"spiffe://gpu.example{path}")
