"""Operators: the small mistakes that a person makes in code, one function each.

An operator takes a node, its parent and the field that holds it there, and gives what may stand in its place. It never
edits the node. `OPERATORS` is all of them, by the name that a report calls them.
"""

import ast
from collections.abc import Callable, Iterator
from typing import Final

Operator = Callable[[ast.AST, ast.AST, str], Iterator[ast.AST]]

_COMPARED: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_COMPUTED: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
}
_CALLED: Final = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list", "reversed": "iter"}
_DECIDES_ITSELF: Final = (ast.Compare, ast.BoolOp, ast.Constant)
_STEP = ast.Return | ast.Continue | ast.Break


def comparison(node: ast.AST, _parent: ast.AST, _field: str) -> Iterator[ast.AST]:
    """`<` becomes `<=` and `>=`, `==` becomes `!=`, and so on; in a chain one at a time."""
    if not isinstance(node, ast.Compare):
        return
    for i, operator in enumerate(node.ops):
        for swapped in _COMPARED[type(operator)]:
            yield ast.Compare(node.left, [*node.ops[:i], swapped(), *node.ops[i + 1 :]], node.comparators)


def connective(node: ast.AST, _parent: ast.AST, _field: str) -> Iterator[ast.AST]:
    """`and` becomes `or`, and the other way round."""
    if isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)


def condition(node: ast.AST, _parent: ast.AST, _field: str) -> Iterator[ast.AST]:
    """One of several conditions is forgotten; among them a filter of a comprehension."""
    if isinstance(node, ast.BoolOp):
        for i in range(len(node.values)):
            rest = [*node.values[:i], *node.values[i + 1 :]]
            yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
    if isinstance(node, ast.comprehension):
        for i in range(len(node.ifs)):
            yield ast.comprehension(node.target, node.iter, [*node.ifs[:i], *node.ifs[i + 1 :]], node.is_async)


def negation(node: ast.AST, parent: ast.AST, field: str) -> Iterator[ast.AST]:
    """`not x` becomes `x`; a bare condition becomes its negation."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand
    elif isinstance(node, ast.expr) and _is_condition(parent, field) and not isinstance(node, _DECIDES_ITSELF):
        yield ast.UnaryOp(ast.Not(), node)


def number(node: ast.AST, _parent: ast.AST, _field: str) -> Iterator[ast.AST]:
    """A number is one too many or one too few; a minus is lost."""
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node.operand


def flag(node: ast.AST, _parent: ast.AST, _field: str) -> Iterator[ast.AST]:
    """True becomes False, and the other way round."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield ast.Constant(not node.value)


def text(node: ast.AST, parent: ast.AST, _field: str) -> Iterator[ast.AST]:
    """A label, a code or a name has one character more. What `refuse` tells a person is left alone."""
    told = isinstance(parent, ast.Call) and isinstance(parent.func, ast.Attribute) and parent.func.attr == "refuse"
    if isinstance(node, ast.Constant) and not told:
        if isinstance(node.value, str):
            yield ast.Constant(node.value + "~")
        if isinstance(node.value, bytes):
            yield ast.Constant(node.value + b"~")


def arithmetic(node: ast.AST, _parent: ast.AST, _field: str) -> Iterator[ast.AST]:
    """`+` becomes `-`, `*` becomes `//`, `|` becomes `&`; of a union of types one is forgotten."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and _is_type(node.left) and _is_type(node.right):
        yield node.left
        yield node.right
    elif isinstance(node, ast.BinOp):
        yield ast.BinOp(node.left, _COMPUTED[type(node.op)](), node.right)
    elif isinstance(node, ast.AugAssign):
        yield ast.AugAssign(node.target, _COMPUTED[type(node.op)](), node.value)


def removal(node: ast.AST, _parent: ast.AST, _field: str) -> Iterator[ast.AST]:
    """A statement is forgotten: a raise, a call, a step of a sum, a guard that returns."""
    called = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    guard = isinstance(node, ast.If) and not node.orelse and isinstance(node.body[-1], _STEP)
    if isinstance(node, ast.Raise | ast.AugAssign | ast.Continue | ast.Break) or called or guard:
        yield ast.Pass()


def element(node: ast.AST, parent: ast.AST, field: str) -> Iterator[ast.AST]:
    """One of several things is forgotten: a member of a set, a row of a table, a field of a comparison."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set) and not _is_shape(node, parent, field):
        for i in range(len(node.elts)):
            yield _without(node, i)
    if isinstance(node, ast.Dict) and len(node.keys) > 1:
        for i in range(len(node.keys)):
            yield ast.Dict([*node.keys[:i], *node.keys[i + 1 :]], [*node.values[:i], *node.values[i + 1 :]])
    if isinstance(node, ast.Compare) and _is_pairs(node):
        for i in range(len(node.left.elts)):  # type: ignore[attr-defined]
            yield ast.Compare(_without(node.left, i), node.ops, [_without(node.comparators[0], i)])


def call(node: ast.AST, _parent: ast.AST, _field: str) -> Iterator[ast.AST]:
    """`min` becomes `max`, `any` becomes `all`, `sorted` becomes `list`; one field of a `replace` is forgotten."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return
    if node.func.id in _CALLED and not (node.func.id == "sorted" and node.keywords):
        yield ast.Call(ast.Name(_CALLED[node.func.id], ast.Load()), node.args, node.keywords)
    if node.func.id == "replace":
        for i in range(len(node.keywords)):
            yield ast.Call(node.func, node.args, [*node.keywords[:i], *node.keywords[i + 1 :]])


OPERATORS: Final[dict[str, Operator]] = {
    "comparison": comparison,
    "connective": connective,
    "condition": condition,
    "negation": negation,
    "number": number,
    "flag": flag,
    "text": text,
    "arithmetic": arithmetic,
    "removal": removal,
    "element": element,
    "call": call,
}


def _is_condition(parent: ast.AST, field: str) -> bool:
    if isinstance(parent, ast.If | ast.IfExp | ast.While):
        return field == "test"
    return isinstance(parent, ast.BoolOp) or (isinstance(parent, ast.comprehension) and field == "ifs")


def _is_type(node: ast.AST) -> bool:
    if isinstance(node, ast.BinOp):
        return isinstance(node.op, ast.BitOr) and _is_type(node.left) and _is_type(node.right)
    name = node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""
    return name[:1].isupper() or name in {"str", "int", "bytes", "bytearray", "memoryview"}


# Where every caller unpacks a tuple, or it is the key of a row, a tuple without one element says nothing new.
def _is_shape(node: ast.AST, parent: ast.AST, field: str) -> bool:
    stored = isinstance(node, ast.Tuple | ast.List) and not isinstance(node.ctx, ast.Load)
    paired = isinstance(parent, ast.Compare) and _is_pairs(parent)
    returned = isinstance(parent, ast.Return) and isinstance(node, ast.Tuple)
    return stored or paired or returned or (isinstance(parent, ast.Dict) and field == "keys")


def _is_pairs(node: ast.Compare) -> bool:
    left, right = node.left, node.comparators[0]
    return len(node.ops) == 1 and isinstance(left, ast.Tuple) and isinstance(right, ast.Tuple)


def _without(node: ast.AST, i: int) -> ast.expr:
    if isinstance(node, ast.Set):
        return (
            ast.Set([*node.elts[:i], *node.elts[i + 1 :]])
            if len(node.elts) > 1
            else ast.parse("set()", mode="eval").body
        )
    assert isinstance(node, ast.Tuple | ast.List)
    return type(node)([*node.elts[:i], *node.elts[i + 1 :]], ast.Load())
