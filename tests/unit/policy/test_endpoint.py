"""Where an OPA may listen: loopback in the clear, anywhere else under TLS, and nothing but a host and a port."""

import pytest

from carnet.core.errors import FieldInvalid
from policy.engines.opa import Endpoint


@pytest.mark.parametrize("url", ["http://127.0.0.1:8181", "http://[::1]:8181", "http://127.0.0.1:8181/"])
def test_plain_http_to_loopback_is_an_endpoint(url: str) -> None:
    assert Endpoint.of(url).tls is None


def test_https_has_a_context_that_verifies() -> None:
    endpoint = Endpoint.of("https://opa.example:8443")
    assert (endpoint.host, endpoint.port) == ("opa.example", 8443)
    assert endpoint.tls is not None
    assert endpoint.tls.check_hostname


@pytest.mark.parametrize(
    "url",
    [
        "http://opa.example:8181",
        "http://localhost:8181",
        "http://10.0.0.1:8181",
        "ftp://127.0.0.1",
        "127.0.0.1:8181",
        "http://user:secret@127.0.0.1:8181",
        "http://127.0.0.1:8181/v1/data/other",
        "http://127.0.0.1:8181?x=1",
        "http://127.0.0.1:99999",
        "http://[::1",
        "",
    ],
)
def test_anything_else_is_refused(url: str) -> None:
    with pytest.raises(FieldInvalid):
        Endpoint.of(url)
