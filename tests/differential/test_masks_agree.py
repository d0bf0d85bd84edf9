"""Both engines mask alike: the same rules for the same decision, over questions drawn from the input schema."""

import pytest

from policy.engine import mask_document
from policy.masking import apply
from tests.differential.engines import Both
from tests.differential.questions import BUNDLE, questions
from tests.opa_support import opa_binary

pytestmark = [pytest.mark.opa, pytest.mark.timeout(600)]

CASES = 150


def test_both_engines_mask_alike_and_no_count_or_name_is_left() -> None:
    both = Both(opa=opa_binary(), bundle=BUNDLE)
    covered = 0
    try:
        for question in questions(seed=11, count=CASES):
            one, _ = both.ask(question)
            assert one.body is not None, one.failure
            first = both.loop.run(both.opa.mask(question, one.body))  # type: ignore[arg-type]  # asks as a query does
            second = both.loop.run(both.embedded.mask(question, one.body))  # type: ignore[arg-type]  # likewise
            assert first == second
            asked = mask_document(question, one.body)  # type: ignore[arg-type]  # likewise
            shown = apply(first, asked=asked["input"], answered=asked["result"])
            assert isinstance(shown.input, dict)
            job = shown.input["job"]
            assert isinstance(job, dict)
            assert "records" not in job["data"]  # type: ignore[operator]  # the schema says that it is an object
            assert job["end_user"]["entity"] == "masked"  # type: ignore[call-overload,index]  # likewise
            covered += "/result/reasons" in shown.masked
    finally:
        both.close()
    assert covered > 0, "no question had a count in a reason"
