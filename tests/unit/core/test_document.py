"""Strict JSON: what other parsers let through is refused, and every error is one error with a path."""

import json
from collections.abc import Callable

import pytest

from carnet.core.document import Document, canonical, depth_max, integer_max, parse
from carnet.core.errors import FieldInvalid


def read(text: str | bytes) -> Document:
    return parse(text if isinstance(text, bytes) else text.encode(), bytes_max=4096)


def field_of(act: Callable[[], object]) -> str:
    with pytest.raises(FieldInvalid) as error:
        act()
    return error.value.metadata["field"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"1",
        b"null",
        b'"text"',
        b"{} {}",
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":01}',
        b'{"a":"\xff"}',
        b'\xef\xbb\xbf{"a":1}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":"' + b"\n" + b'"}',
        b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}",
        b" " * 4097,
    ],
    ids=lambda data: data[:24].decode("latin-1"),
)
def test_hostile_bytes_are_refused(data: bytes) -> None:
    assert field_of(lambda: read(data)) == "document"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b'{"a":1.0}', "a"),
        (b'{"a":1e3}', "a"),
        (b'{"a":NaN}', "a"),
        (b'{"a":Infinity}', "a"),
        (b'{"a":-Infinity}', "a"),
        (b'{"a":9223372036854775808}', "a"),
        (b'{"a":-9223372036854775808}', "a"),
        (b'{"a":' + b"9" * 3000 + b"}", "a"),
        (b'{"a":1,"a":1}', "a"),
        (b'{"b":{"a":1,"a":2}}', "b.a"),
        (b'{"b":[{"a":1,"a":2}]}', "b[0].a"),
        (b'{"a":"\\u0000"}', "a"),
        (b'{"\\u0000":1}', "?"),
        (b'{"a":"\\ud800"}', "a"),
        (b'{"a":["\\udfff"]}', "a[0]"),
        (b'{"a":' + b"[" * (depth_max + 1) + b"]" * (depth_max + 1) + b"}", "a" + "[0]" * depth_max),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_value_that_can_not_be_taken_is_named_by_its_path(data: bytes, field: str) -> None:
    assert field_of(lambda: read(data)) == field


def test_the_bounds_themselves_are_legal() -> None:
    document = read(json.dumps({"low": -integer_max, "high": integer_max, "deep": None}))
    assert document.integer("low", low=-integer_max) == -integer_max
    assert document.integer("high") == integer_max
    nested = b'{"a":' + b"[" * (depth_max - 1) + b"]" * (depth_max - 1) + b"}"
    assert read(nested).names() == ("a",)


def test_deep_nesting_is_refused_before_the_stack_is_gone() -> None:
    data = b'{"a":' * 100_000
    with pytest.raises(FieldInvalid):
        parse(data, bytes_max=10**6)


def test_a_field_is_read_once_and_the_rest_is_refused() -> None:
    document = read('{"a":"x","b":true,"c":[1]}')
    assert (document.text("a"), document.flag("b")) == ("x", True)
    assert field_of(lambda: document.text("a")) == "a"
    assert document.has("c")
    assert not document.has("a")
    assert field_of(document.close) == "c"


@pytest.mark.parametrize(
    ("value", "act"),
    [
        ('""', lambda d: d.text("a")),
        ('"' + "ä" * 129 + '"', lambda d: d.text("a")),
        ("1", lambda d: d.text("a")),
        ('"no"', lambda d: d.text("a", choices={"yes"})),
        ("true", lambda d: d.integer("a")),
        ("-1", lambda d: d.integer("a")),
        ("6", lambda d: d.integer("a", high=5)),
        ('"1"', lambda d: d.integer("a")),
        ("1", lambda d: d.flag("a")),
        ("null", lambda d: d.flag("a")),
        ("[]", lambda d: d.document("a")),
        ("{}", lambda d: d.texts("a")),
        ('["x","x"]', lambda d: d.texts("a")),
        ('["x","y"]', lambda d: d.texts("a", items_max=1)),
        ("{}", lambda d: d.documents("a")),
        ("[{},{}]", lambda d: d.documents("a", items_max=1)),
    ],
)
def test_each_reader_refuses_what_is_not_its_kind(value: str, act: Callable[[Document], object]) -> None:
    assert field_of(lambda: act(read(f'{{"a":{value}}}'))) == "a"


def test_a_path_leads_from_the_top() -> None:
    document = read('{"a":{"b":[{"c":1},{"d":["x",2]}]}}').document("a").documents("b")
    assert field_of(lambda: document[0].text("c")) == "a.b[0].c"
    assert field_of(lambda: document[1].texts("d")) == "a.b[1].d[1]"
    assert field_of(lambda: document[1].document("e")) == "a.b[1].e"
    assert field_of(lambda: read('{"a":[{},1]}').documents("a")) == "a[1]"


@pytest.mark.parametrize(
    ("value", "kind"),
    [("1", "integer"), ("true", "flag"), ('"x"', "text"), ("[]", "list"), ("{}", "object"), ("null", "null")],
)
def test_kind_looks_without_taking(value: str, kind: str) -> None:
    document = read(f'{{"a":{value}}}')
    assert document.kind("a") == kind
    assert document.has("a")


def test_canonical_bytes_do_not_depend_on_order() -> None:
    assert (
        canonical({"b": [1, True], "a": "ä"})
        == canonical({"a": "ä", "b": [1, True]})
        == '{"a":"ä","b":[1,true]}'.encode()
    )
