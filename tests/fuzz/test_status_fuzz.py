"""Any bytes as the details of a status are an error of Carnet's own tree."""

import grpc
import grpc.aio
from hypothesis import given
from hypothesis import strategies as st

from carnet.core.errors import CarnetError, NotFound
from carnet.rpc import from_rpc
from gateway.status import status_of
from tests.fixtures.gateway_process import bounded
from tests.fuzz.shapes import mutated

CODES = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
HONEST = status_of(NotFound(metadata={"field": "name"})).SerializeToString()


@bounded(normal=200, full=20_000)
@given(st.binary(max_size=200) | mutated(HONEST), st.sampled_from(CODES))
def test_any_details_of_a_status_are_an_error_of_ours(data: bytes, code: grpc.StatusCode) -> None:
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", data))
    assert isinstance(from_rpc(grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "text")), CarnetError)
