"""Where the hashes of the log's tree stand, and which of them a root or a proof needs. Pure.

- Every node of every perfect subtree has one place: `place(level, index)`, the in-order number of the node, so that
  leaf i is at 2i and nodes never move. Two hashes a leaf are stored, all in all.
- The root of any size, and the path from any leaf to it, are folds of at most 2 log2(n) of these hashes
  (RFC 9162 sections 2.1.1 and 2.1.3.1): `path_places` says which, `path_hashes` folds them.

    frontier, added = grown(frontier, leaves)
    path = path_hashes(path_places(index, size), nodes)
"""

from collections.abc import Iterable, Mapping, Sequence

from carnet.core.audit import EMPTY_ROOT, Frontier, node_hash
from carnet.core.errors import Bug

Places = tuple[int, ...]


def place(level: int, index: int) -> int:
    """The place of the perfect subtree over the leaves from index * 2^level on; `level` 0 is a leaf."""
    return ((2 * index + 1) << level) - 1


def grown(frontier: Frontier, leaves: Iterable[bytes]) -> tuple[Frontier, dict[int, bytes]]:
    """The frontier after these leaf hashes, and every node that they completed, by place."""
    hashes, size = list(frontier.hashes), frontier.size
    added: dict[int, bytes] = {}
    for leaf in leaves:
        node, level, index = leaf, 0, size
        added[place(0, index)] = node
        while index & 1:
            node, level, index = node_hash(hashes.pop(), node), level + 1, index >> 1
            added[place(level, index)] = node
        hashes.append(node)
        size += 1
    return Frontier(size, hashes), added


def range_places(start: int, end: int) -> Places:
    """The perfect subtrees that the leaves from `start` to before `end` consist of, largest first."""
    places = []
    while start < end:
        level = (end - start).bit_length() - 1
        if start & ((1 << level) - 1):
            raise Bug(detail="a range of the log is not aligned")
        places.append(place(level, start >> level))
        start += 1 << level
    return tuple(places)


def path_places(index: int, size: int) -> tuple[Places, ...]:
    """The ranges whose roots are the path from the leaf at `index` to the root of the first `size` leaves."""
    if not 0 <= index < size:
        raise Bug(detail="a proof was asked for outside of the log")
    steps = []
    start, end = 0, size
    while end - start > 1:
        middle = start + (1 << ((end - start - 1).bit_length() - 1))
        if index < middle:
            steps.append(range_places(middle, end))
            end = middle
        else:
            steps.append(range_places(start, middle))
            start = middle
    return tuple(reversed(steps))


def path_hashes(steps: Sequence[Places], nodes: Mapping[int, bytes]) -> tuple[bytes, ...]:
    """The path, from the hashes of all places that it names."""
    return tuple(root_of_range(places, nodes) for places in steps)


def root_of_range(places: Places, nodes: Mapping[int, bytes]) -> bytes:
    """The root over the range that these places make up. Raises `Bug` where a hash is missing."""
    if not places:
        return EMPTY_ROOT
    if any(found not in nodes for found in places):
        raise Bug(detail="a node of the log is missing")
    *rest, last = places
    root = nodes[last]
    for left in reversed(rest):
        root = node_hash(nodes[left], root)
    return root
