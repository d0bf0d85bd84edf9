"""Attacks on the times of keys and leaves, with statements that the runner's own leaf signed.

The rules are those of a client that vets (`carnet/vetting.py`). Each control takes the check away.
"""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from carnet import statements, vetting
from carnet.core.certificate import LeafKind, read_leaf
from carnet.core.errors import CredentialInvalid, StatementInvalid
from carnet.vetting import Presented, vet
from tests.fixtures.parties import SECOND, Parties, nothing, resigned


def short_lived(parties: Parties, *, seal_seconds: int) -> Presented:
    """The French runner with a leaf that ends in ten minutes, and a key that is sealed to for so long."""
    runner, now = parties.runners["FR"], datetime.now(UTC)
    # A leaf begins half a minute early, so that clocks may differ.
    leaf = runner.authority.issue_runner(runner.id, runner.leaf.signer.public_der, now=now, seconds=630)
    card = statements.CARD.parse(runner.presented.card.payload)
    key = statements.KEY_STATEMENT.parse(runner.presented.key_statement.payload)
    until_ns = time.time_ns() + seal_seconds * SECOND
    return replace(
        runner.presented,
        chain=(leaf,),
        status=runner.authority.sign_status(read_leaf(leaf, LeafKind.RUNNER), good=True, now=now),
        card=resigned(statements.CARD, card, runner.leaf.signer),
        key_statement=resigned(statements.KEY_STATEMENT, key, runner.leaf.signer, seal_until_ns=until_ns),
    )


def test_a_key_statement_that_outlives_its_certificate_is_refused(
    parties: Parties, monkeypatch: pytest.MonkeyPatch
) -> None:
    def judged(seconds: int) -> object:
        presented = short_lived(parties, seal_seconds=seconds)
        return vet(presented, anchors=parties.pins.operators, now_ns=time.time_ns())

    with pytest.raises(CredentialInvalid, match="outlives its certificate"):
        judged(1800)
    assert judged(300)
    # Control: without the comparison jobs are sealed to a key whose leaf may be revoked unseen.
    monkeypatch.setattr(vetting, "check_key_statement", nothing)
    assert judged(1800)


def test_a_leaf_that_has_expired_presents_nobody(parties: Parties) -> None:
    presented = short_lived(parties, seal_seconds=300)
    later_ns = time.time_ns() + int(timedelta(minutes=11).total_seconds()) * SECOND
    with pytest.raises(CredentialInvalid):
        vet(presented, anchors=parties.pins.operators, now_ns=later_ns)
    # Control: now it is good.
    assert vet(presented, anchors=parties.pins.operators, now_ns=time.time_ns())


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"seal_until_ns": 2 * 3600 * SECOND, "open_until_ns": 3 * 3600 * SECOND}, "an hour at most"),
        ({"seal_until_ns": 1800 * SECOND, "open_until_ns": 26 * 3600 * SECOND}, "25 hours at most"),
        ({"seal_until_ns": 1800 * SECOND, "open_until_ns": 1700 * SECOND}, "must rise"),
        ({"public": bytes(1215)}, "1216 bytes"),
    ],
)
def test_a_key_statement_beyond_its_bounds_does_not_exist(
    changes: dict[str, object], text: str, parties: Parties
) -> None:
    statement = statements.KEY_STATEMENT.parse(parties.runners["FR"].presented.key_statement.payload)
    with pytest.raises(StatementInvalid, match=text):
        replace(statement, **({"not_before_ns": 0} | changes))  # type: ignore[arg-type]
    # Control: within its bounds it does.
    assert replace(statement, not_before_ns=0, seal_until_ns=1800 * SECOND, open_until_ns=24 * 3600 * SECOND)
