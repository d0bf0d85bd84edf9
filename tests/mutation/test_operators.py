"""What the operators make of a line, and what they leave alone."""

from pathlib import Path

import pytest

from tests.mutation.mutants import mutants
from tests.mutation.report import Score, equivalents, merged, survivor_line
from tests.mutation.targets import TARGETS


def changes(source: str) -> list[str]:
    """What may go wrong in this source."""
    return [mutant.change for mutant in mutants("sample", source)]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = a < b", ["comparison: a < b -> a <= b", "comparison: a < b -> a >= b"]),
        ("x = a is None", ["comparison: a is None -> a is not None"]),
        (
            "x = a and b",
            [
                "connective: a and b -> a or b",
                "condition: a and b -> b",
                "condition: a and b -> a",
                "negation: a -> not a",
                "negation: b -> not b",
            ],
        ),
        ("x = not a", ["negation: not a -> a"]),
        ("x = 7", ["number: 7 -> 8", "number: 7 -> 6"]),
        ("x = -n", ["number: -n -> n"]),
        ("x = True", ["flag: True -> False"]),
        ("x = 'wrap'", ["text: 'wrap' -> 'wrap~'"]),
        ("x = a + b", ["arithmetic: a + b -> a - b"]),
        ("x += y", ["arithmetic: x += y -> x -= y", "removal: x += y -> pass"]),
        ("f(x)", ["removal: f(x) -> pass"]),
        ("raise Wrong('because')", ["removal: raise Wrong('because') -> pass"]),
        ("x = any(y)", ["call: any(y) -> all(y)"]),
        ("x = replace(y, a=b)", ["call: replace(y, a=b) -> replace(y)"]),
        ("x = {a, b}", ["element: {a, b} -> {b}", "element: {a, b} -> {a}"]),
        ("x = {a: b, c: d}", ["element: {a: b, c: d} -> {c: d}", "element: {a: b, c: d} -> {a: b}"]),
        ("x = isinstance(y, A | B)", ["arithmetic: A | B -> A", "arithmetic: A | B -> B"]),
    ],
)
def test_a_line_has_these_mutants(source: str, expected: list[str]) -> None:
    assert changes(source) == expected


def test_a_guard_that_returns_can_be_forgotten_or_turned_round() -> None:
    assert changes("def f():\n    if a:\n        return b\n") == [
        "removal: if a: return b -> pass",
        "negation: a -> not a",
    ]


def test_of_two_tuples_that_are_compared_a_pair_is_forgotten() -> None:
    assert "element: (a, b) == (c, d) -> (b,) == (d,)" in changes("x = (a, b) == (c, d)")


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "import this",
        "Number = int | float",
        "Rule = Callable[[int], int]",
        "A = TypeVar('A', 'B', 'C')",
        "__all__ = ['a', 'b']",
        "@dataclass(frozen=True)\nclass A(B, total=False):\n    a: 'Literal[3]'\n",
        "def f(a: 'int | str') -> 'tuple[int, ...]': ...",
        "assert isinstance(a, B)",
    ],
)
def test_what_declares_is_left_alone(source: str) -> None:
    assert changes(source) == []


def test_what_a_raise_says_is_left_alone() -> None:
    assert changes("raise Wrong('text', metadata={'field': 3})") == [
        "removal: raise Wrong('text', metadata={'field': 3}) -> pass"
    ]


def test_the_same_change_twice_in_one_line_has_two_names() -> None:
    names = [mutant.name for mutant in mutants("sample", "x = 1 + 1")]
    assert len(set(names)) == len(names) == 5


def test_each_mutant_is_compiled_alone() -> None:
    seen = []
    for mutant in mutants("sample", "x = [a < 2, not b]"):
        values: dict[str, object] = {"a": 2, "b": True}
        exec(mutant.code(Path("sample.py")), values)
        seen.append((mutant.change.split(":")[0], values["x"]))
    assert seen == [
        ("element", [False]),
        ("element", [False]),
        ("comparison", [True, False]),
        ("comparison", [True, False]),
        ("number", [True, False]),
        ("number", [False, False]),
        ("negation", [False, True]),
    ]


def test_every_module_has_mutants_with_names_of_their_own() -> None:
    for target in TARGETS.values():
        every = mutants(target.module, target.path.read_text())
        assert every
        assert len({mutant.name for mutant in every}) == len(every)
        assert all(target.stages()), "each pattern finds tests"


def test_every_entry_of_the_list_fits_a_mutant_and_says_why() -> None:
    names = {m.name for target in TARGETS.values() for m in mutants(target.module, target.path.read_text())}
    for name, reason in equivalents().items():
        assert name in names, "the entry is stale"
        assert len(reason) > 20


def test_a_score_counts_what_could_be_noticed() -> None:
    killed, known, survivor = mutants("sample", "x = [True, 3]")[-3:]
    score = Score(module="sample")
    listed = {known.name: "it changes nothing"}
    assert score.note(killed, "a test", listed) is None
    assert score.note(known, None, listed) is None
    assert score.note(survivor, None, listed) is None
    assert (score.mutants, score.killed, score.equivalent, score.value) == (3, 1, 1, 0.5)
    assert score.survivors == [survivor]
    assert "notices it" in str(score.note(known, "a test", listed)), "an entry that a test contradicts is an error"


def test_a_record_keeps_the_modules_that_did_not_run_and_counts_the_total_anew() -> None:
    survivor = mutants("second", "x = True")[0]
    first = Score(module="first", mutants=10, killed=9, equivalent=1)
    second = Score(module="second", mutants=2, killed=1, survivors=[survivor])
    better = Score(module="second", mutants=2, killed=2)
    record = merged([], [first.line(), survivor_line(survivor), second.line()])
    assert record[-1] == Score(module="total", mutants=12, killed=10, equivalent=1).line()
    record = merged(record, [better.line(), better.line().replace("second", "total")])
    assert record == [
        first.line(),
        better.line(),
        Score(module="total", mutants=12, killed=11, equivalent=1).line(),
    ]
