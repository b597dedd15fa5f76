"""Whether all guards of a program hold: one function, made for it, that finds out as fast as can be."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..core.versions import rebound
from .execute import execute_test
from .guards import Read, is_by_identity
from .objects import MISSING, PACKAGE, SCALARS, own_attributes, same

Tables = dict[str, list["_Owner"]]


class _Anything:
    """Is equal to all: it stands for what nobody reads, and what changes. On the left, as dicts ask that side."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return True


ANYTHING = _Anything()


class Options:
    """The options of an optimiser: whether they are the very objects that they were, and ``changes``, how often not."""

    def __init__(self, optimizer: Any) -> None:
        self.optimizer, self.changes = optimizer, 0
        self.seen: list[Any] = []

    def test(self, otherwise: Callable[[], bool]) -> Callable[[], bool]:
        """Return a function that says whether they are the same, or else what ``otherwise`` says, and remembers them.

        Of what may change inside only the parameters are remembered, whose list is a guard of its own.
        """
        optimizer = self.optimizer

        def hold() -> bool:
            groups, seen = optimizer.param_groups, self.seen
            now = [optimizer.state, *groups]
            for group in groups:
                now += group.values()
            if len(seen) == len(now) and all(map(operator.is_, seen, now)):
                return True
            self.changes += 1
            holds = otherwise()
            options = (v for group in groups for k, v in group.items() if k != "params")
            self.seen = now if holds and all(isinstance(v, (*SCALARS, tuple)) for v in options) else []
            return holds

        return hold


def fits_function(guards: Sequence[Read], options: Callable[[Any], Options]) -> Callable[[], bool]:
    """Return a function that says whether all guards hold; ``options`` gives those of an optimiser.

    Owners of which the same is read are the rows of one loop. What an object finds in its class is read there, once for
    all of them. Guards of Tensors, and of what holds them, are looked at only if any Tensor has got other memory since.
    Of modules alike one is looked at, which tells if its class has changed, and the `_Fields` of all are compared.
    """
    tensors = [read for read in guards if read.kind in ("held", "tensor")]
    tables = _tables([read for read in guards if read.kind not in ("held", "tensor")], options)
    alike: list[_Owner] = []
    for owners in tables.values():
        tell = [owner for owner in owners if owner.tells()]
        if len(tell) > 1:
            alike += tell
            owners[:] = [owner for owner in owners if owner not in tell[1:]]
    fields = _Fields(alike)
    namespace: dict[str, Any] = dict(same=same, is_=operator.is_, rebound=rebound, seen=[-1], tensors=tensors)
    namespace |= dict(holds=Read.holds, now=fields.now, were=fields.were, hold=fields.hold, renew=fields.renew)
    lines = ["def fits():", " try:", "  if rebound[0] != seen[0]:", "   if not (all(map(holds, tensors)) and hold()):"]
    lines += ["    return False", "   seen[0] = rebound[0]"]
    lines += ["  try:", "   alike = were == now", "  except Exception:", "   alike = False"] if alike else []
    lines += ["  if not (alike or renew()):", "   return False"] if alike else []
    for n, (test, owners) in enumerate(tables.items()):
        rows, several = [owner.row for owner in owners], len(owners) > 1  # a loop takes longer than one row
        namespace[f"rows{n}"] = rows if several else rows[0]
        values, indent = "o," + ",".join(f" v{i}" for i in range(1, len(rows[0]))), "  " + " " * several
        lines += [f"  for {values} in rows{n}:" if several else f"  {values} = rows{n}"]
        lines += [f"{indent}if not ({test}):", f"{indent} return False"]
    lines += [" except Exception:", "  return False", " return True"]
    return execute_test("\n".join(lines), namespace, "fits")


def _tables(guards: Iterable[Read], options: Callable[[Any], Options]) -> Tables:
    """Return by the expression that finds out about them the owners of guards."""
    owners: dict[int, _Owner] = {}
    for read in guards:
        owner = owners.setdefault(id(read.owner), _Owner(read.owner))
        shared = read.in_class()
        if shared is None:
            owner.reads[read.kind, read.name] = read
        else:
            owner.absent.append(read.name)
            owners.setdefault(id(shared.owner), _Owner(shared.owner)).reads[shared.kind, shared.name] = shared
    tables: Tables = {}
    for owner in owners.values():
        tables.setdefault(owner.test(options), []).append(owner)
    return tables


class _Owner:
    """What is guarded of one owner: what is read from it, and the names that it must not have of its own."""

    def __init__(self, owner: Any) -> None:
        self.owner, self.kind, self.row = owner, type(owner), [owner]
        self.reads: dict[tuple[str, str], Read] = {}
        self.absent: list[str] = []

    def test(self, options: Callable[[Any], Options]) -> str:
        """Return the expression for all of it, of an owner ``o`` and the other values of its ``row``."""
        tests = []
        if self.absent:
            self.row.append(self.kind)
            tests.append("o.__class__ is v1")
        held = "(d := o.__dict__)"
        for name in self.absent if own_attributes(self.owner) is not None else ():
            tests.append(f"{name!r} not in {held}")
            held = "d"
        for read in self.reads.values():
            holds = options(self.owner).test(read.holds) if read.kind == "signature" else read.holds
            tests.append(read.test(self.row, holds).replace("(d := o.__dict__)", held))
        return " and ".join(tests)

    def tells(self) -> bool:
        """Return whether all that is read of it are attributes of its own, and `rebound` counts if it gets others.

        Their values are equal to nothing else, and so are the attributes together, whose classes nobody asks for.
        """
        counts = getattr(self.kind.__setattr__, "__module__", "") == f"{PACKAGE}.nn.module"
        own = own_attributes(self.owner) or {}
        return counts and all(
            kind == "." and name in own and is_by_identity(read.value) for (kind, name), read in self.reads.items()
        )

    def holds(self) -> bool:
        """Return whether all of it is as it was."""
        own = own_attributes(self.owner) or {}
        is_absent = type(self.owner) is self.kind and not any(name in own for name in self.absent)
        return is_absent and all(read.holds() for read in self.reads.values())


class _Fields:
    """All attributes of many owners, read or not, which take less time to compare at once than to be looked for."""

    def __init__(self, owners: list[_Owner]) -> None:
        self.owners = owners
        self.now = [vars(owner.owner) for owner in owners]
        self.were = [dict(own) for own in self.now]

    def hold(self) -> bool:
        """Return whether what is read is as it was, and the attributes are the same dicts."""
        same_dicts = all(vars(owner.owner) is own for owner, own in zip(self.owners, self.now, strict=True))
        return same_dicts and all(owner.holds() for owner in self.owners)

    def renew(self) -> bool:
        """Return whether they `hold`; if so, only what is not read has changed, which need not be as it was."""
        if not self.hold():
            return False
        for now, was in zip(self.now, self.were, strict=True):
            for name in was.keys() - now.keys():
                del was[name]
            for name, value in now.items():
                if was.get(name, MISSING) is not value:  # what nobody looks at, but for `train` and `eval`, of all
                    was[name] = value if name == "training" or name not in was else ANYTHING
        return True
