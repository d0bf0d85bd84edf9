"""Strict JSON: any bytes parse, or raise `FieldInvalid`; what is canonical comes back as it was."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carnet.core.document import Document, Json, canonical, depth_max, integer_max, parse
from carnet.core.errors import FieldInvalid

relaxed = settings(deadline=None, max_examples=100)

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-integer_max, integer_max), texts)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)


def value_of(document: Document) -> dict[str, Json]:
    """Every field of a document, read by its own kind."""
    return {name: _read(document, name) for name in document.names()}


def _read(document: Document, name: str) -> Json:
    # `Document` takes fields by type; a property over all values needs the value itself.
    return document._take(name)


def outcome(data: bytes, *, bytes_max: int = 10_000) -> dict[str, Json] | None:
    try:
        return value_of(parse(data, bytes_max=bytes_max))
    except FieldInvalid:
        return None


@relaxed
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_any_bytes_parse_or_raise_the_one_error(data: bytes) -> None:
    found = outcome(data)
    if found is not None:
        assert json.loads(data) == found


@relaxed
@given(objects, st.data())
def test_changed_json_parses_or_raises_the_one_error(value: dict[str, Json], data: st.DataObject) -> None:
    changed = bytearray(canonical(value))
    start = data.draw(st.integers(0, len(changed)))
    changed[start : start + data.draw(st.integers(0, 4))] = data.draw(
        st.one_of(
            st.binary(max_size=4), st.sampled_from([b'"', b"{", b"[", b"1e9", b"NaN", b"-", b"\\ud800", b"\\u0000"])
        )
    )
    found = outcome(bytes(changed))
    if found is not None:
        assert json.loads(changed) == found


@relaxed
@given(objects)
def test_what_is_canonical_comes_back_and_stays_canonical(value: dict[str, Json]) -> None:
    data = canonical(value)
    found = value_of(parse(data, bytes_max=len(data)))
    assert found == value
    assert canonical(found) == data


@relaxed
@given(objects)
def test_white_space_and_order_do_not_change_the_canonical_form(value: dict[str, Json]) -> None:
    loose = json.dumps(dict(reversed(value.items())), indent=2).encode()
    assert canonical(value_of(parse(loose, bytes_max=len(loose)))) == canonical(value)


@relaxed
@given(objects)
def test_one_byte_more_than_the_bound_is_refused(value: dict[str, Json]) -> None:
    data = canonical(value)
    with pytest.raises(FieldInvalid):
        parse(data, bytes_max=len(data) - 1)


@relaxed
@given(objects, texts, values)
def test_a_repeated_key_is_refused_at_any_depth(value: dict[str, Json], name: str, other: Json) -> None:
    key = canonical(name)
    twice = b"{" + key + b":1," + key + b":" + canonical(other) + b"}"
    for data in (twice, b'{"a":[' + twice + b"]}", b'{"a":' + canonical(value) + b',"b":' + twice + b"}"):
        with pytest.raises(FieldInvalid):
            parse(data, bytes_max=len(data))


@pytest.mark.parametrize("depth", [1, depth_max, depth_max + 1, 5000, 200_000])
def test_nesting_is_bounded_and_never_exhausts_the_stack(depth: int) -> None:
    data = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
    if depth < depth_max:
        assert parse(data, bytes_max=len(data)).has("a")
        return
    if depth == depth_max:
        assert outcome(data) is not None
        return
    with pytest.raises(FieldInvalid):
        parse(data, bytes_max=len(data))


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"[]", b'"a"', b"1", b'{"a":1.0}', b'{"a":1e3}', b'{"a":NaN}', b'{"a":Infinity}', b'{"a":-Infinity}',
     b'{"a":9223372036854775808}', b'{"a":' + b"9" * 5000 + b"}", b'{"a":"\\u0000"}', b'{"\\u0000":1}',
     b'{"a":"\\ud800"}', b'{"\\udfff":1}', b'\xff{"a":1}', b'\xef\xbb\xbf{"a":1}', b'{"a":1}x', b'{"a":1,}',
     b"{'a':1}", '{"a":1}'.encode("utf-16")],
)  # fmt: skip
def test_what_json_libraries_take_and_disagree_on_is_refused(data: bytes) -> None:
    with pytest.raises(FieldInvalid):
        parse(data, bytes_max=10_000)


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b'{"a":1,"a":2}', "a"),
        (b'{"a":{"b":[0,{"c":1,"c":2}]}}', "a.b[1].c"),
        (b'{"a":[1,2.5]}', "a[1]"),
        (b'{"a":{"b":NaN}}', "a.b"),
        (b'{"a":{"b":9223372036854775808}}', "a.b"),
        (b'{"a":{"b":-9223372036854775808}}', "a.b"),
        (b'{"a":["x","\\u0000"]}', "a[1]"),
        (b'{"a":[{"x\\u0000y":1}]}', "a[0].x?y"),
        (b'{"a":["\\ud800"]}', "a[0]"),
        (b"[]", "document"),
        (b"{", "document"),
        (b'{"a":' + b"[" * depth_max + b"1" + b"]" * depth_max + b"}", "a" + "[0]" * depth_max),
    ],
)
def test_what_is_refused_is_named_by_its_path(data: bytes, path: str) -> None:
    with pytest.raises(FieldInvalid) as error:
        parse(data, bytes_max=10_000)
    assert error.value.metadata == {"field": path}
    assert error.value.text.startswith(path + " ")


def test_the_control_the_greatest_integers_and_depth_are_taken() -> None:
    deep = b'{"a":' + b"[" * (depth_max - 1) + b"1" + b"]" * (depth_max - 1) + b"}"
    assert parse(deep, bytes_max=10_000).has("a")
    assert parse(b'{"a":9223372036854775807}', bytes_max=100).integer("a") == 2**63 - 1
    assert parse(b'{"a":-9223372036854775807}', bytes_max=100).integer("a", low=-(2**63)) == -(2**63) + 1


def test_a_null_is_taken_as_one_and_nothing_else_is() -> None:
    document = parse(b'{"a":null,"b":0}', bytes_max=100)
    assert document.null("a")
    assert not document.null("a"), "it was taken"
    assert not document.null("b")
    assert not document.null("c")
    assert document.integer("b") == 0
    document.close()
