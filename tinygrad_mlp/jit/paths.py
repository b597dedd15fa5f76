"""What a code object can read and write: access paths, found in its bytecode by following values over the stack.

A path begins at a global name, a free variable or an argument, at ``globals()`` or the result of an unknown call, and
goes on with steps: ``".name"``, ``"?name"`` for what may be missing, ``("item", key)``, ``VARS`` for all attributes at
once, ``SUPER`` for what ``super()`` finds, and ``ANY`` for whatever a call, a loop or an operator makes of it. An
opcode that is not known makes ANY of what it takes from the stack, the safe side; so a text that is passed with an
object may be the name of an attribute.
"""

from __future__ import annotations

import dis
import functools
import re
import types
from typing import Any, NamedTuple

from .opaque import names_in

Path = tuple[Any, ...]
Value = frozenset[Path]
ANY, VARS, SUPER = "*", "vars", "super"
NOTHING: Value = frozenset()
GLOBALS: Value = frozenset({("globals", "")})
LONGEST = 12
_BY_NAME = {("global", name): name == "setattr" for name in ("getattr", "hasattr", "setattr", "vars", "dir", "delattr")}
_CLASSES = {("global", name) for name in ("isinstance", "issubclass", "type")}
_IDLE = ("NOP", "EXTENDED_ARG", "CACHE", "RESUME", "NOT_TAKEN", "JUMP", "COPY_FREE_VARS", "MAKE_CELL", "KW_NAMES")
_POPS = ("POP_", "RETURN_", "RAISE", "RERAISE", "END_", "DELETE_", "STORE_")
_PUSHES = ("LOAD_", "BUILD_", "PUSH_", "IMPORT_")
_NEUTRAL = ("BUILD_", "BINARY_SLICE", "YIELD_", "IS_OP", "FOR_", "UNPACK_", "GET_", "MAKE_", "SET_", "LIST_")
"""What takes arrays without computing with their values."""
_ADDS = ("_APPEND", "_ADD", "_EXTEND", "_UPDATE", "_MERGE")


class Scan(NamedTuple):
    """The paths of a code object, and whether each is only written to; which of them meet in one operation; and the
    steps that are taken from what a call has returned."""

    paths: dict[Path, bool]
    joined: set[Value]
    loose: set[Path]


@functools.lru_cache(4096)
def scan(code: types.CodeType) -> Scan:
    """Return the access paths of a code object."""
    return _Scanner(code).found


class _Scanner:
    def __init__(self, code: types.CodeType) -> None:
        count = code.co_argcount + code.co_kwonlyargcount + bool(code.co_flags & 4) + bool(code.co_flags & 8)
        self.arguments, self.free = code.co_varnames[:count], code.co_freevars
        self.local: dict[str, Value] = {}
        self.paths: dict[Path, bool] = {}
        self.joined: set[Value] = set()
        instructions = list(dis.get_instructions(code))
        for _ in range(2):  # what the end of a loop stores its beginning loads
            self.stack: list[Value] = []
            self.arriving: dict[int, list[Value]] = {}
            for instruction in instructions:
                self._arrive(instruction.offset)
                self._follow(instruction)
        paths = {path: written for path, written in self.paths.items() if path[-1] != ANY}
        loose = {path[i:] for path in paths for i in range(3, len(path)) if path[i][0] in ".?"}
        paths = {path: written for path, written in paths.items() if path[0] not in ("call", "const", "name")}
        self.found = Scan(paths, self.joined, loose)

    def _arrive(self, offset: int) -> None:
        """Take up the stack of a jump to this place."""
        other = self.arriving.pop(offset, None)
        if other is not None:
            same = len(other) == len(self.stack)
            self.stack = [a | b for a, b in zip(self.stack, other, strict=True)] if same else other

    def _follow(self, ins: dis.Instruction) -> None:
        op, arg = ins.opname, ins.argval
        effect = dis.stack_effect(ins.opcode, ins.arg, jump=False)
        if ins.opcode in (*dis.hasjrel, *dis.hasjabs) and arg > ins.offset:
            lost = max(-dis.stack_effect(ins.opcode, ins.arg, jump=True), 0)
            self.arriving[arg] = self.stack[: len(self.stack) - lost]
        if fast := re.findall("(LOAD|STORE)_FAST", op):
            for part, name in zip(fast, arg if isinstance(arg, tuple) else (arg,), strict=False):
                self._variable(part, name)
        elif op.startswith(_IDLE):
            pass
        elif op in ("LOAD_CONST", "LOAD_SMALL_INT", "LOAD_CONST_IMMORTAL"):
            self.stack.append(frozenset({("const", slice if isinstance(arg, slice) else arg)}))
        elif op.endswith(("_DEREF", "_CLASSDEREF")) and not op.startswith("DELETE"):
            self._variable(op[:5].rstrip("_"), arg)
        elif op in ("LOAD_GLOBAL", "LOAD_NAME"):
            self.stack += [*[NOTHING] * (effect - 1), self._note({("global", arg)})]
        elif op in ("STORE_GLOBAL", "STORE_NAME"):
            self._pop(1)
            self._note({("global", arg)}, write=True)
        elif op == "IMPORT_NAME":
            names, level = self._pop(2)
            module = arg if names != {("const", None)} else arg.partition(".")[0]
            self.stack.append(self._note({("module", module)}) if level == {("const", 0)} else NOTHING)
        elif op == "IMPORT_FROM":
            self.stack.append(self._note(_longer(self.stack[-1], f".{arg}")))
        elif op in ("LOAD_ATTR", "LOAD_METHOD", "STORE_ATTR", "DELETE_ATTR"):
            self._attribute(op, arg, effect)
        elif op == "LOAD_SUPER_ATTR":
            owner = self._pop(3)[0]
            value = self._note(_longer(_longer(owner, SUPER), f".{arg}"))
            self.stack += [*[owner] * (effect + 2), value]
        else:
            self._other(op, arg, effect, ins.argrepr)

    def _variable(self, part: str, name: str) -> None:
        if part == "STORE":
            value = self._pop(1)[0]
            if name in self.free:
                self._note({("free", name)}, write=True)
            self.local[name] = self.local.get(name, NOTHING) | value
        else:
            kind = "free" if name in self.free else "local" if name in self.arguments else ""
            own = self._note({(kind, name)}) if kind else NOTHING
            self.stack.append(self.local.get(name, NOTHING) | own)

    def _attribute(self, op: str, name: str, effect: int) -> None:
        owner = self._pop(1)[0]
        if op == "STORE_ATTR":
            self._pop(1)
        value = self._note(_longer(owner, f".{name}"), write=not op.startswith("LOAD"))
        if op.startswith("LOAD"):
            self.stack += [*[owner] * effect, value]

    def _other(self, op: str, arg: Any, effect: int, text: str) -> None:
        """Follow an opcode that moves values, works on items, or makes one value of several."""
        if op in ("COPY", "SWAP", "DUP_TOP", "DUP_TOP_TWO", "ROT_TWO", "ROT_THREE", "ROT_FOUR"):
            self._move(op, arg)
        elif op.endswith(_ADDS) and isinstance(arg, int):
            more = _longer(frozenset().union(*self._pop(-effect)), ANY)
            if 0 < arg <= len(self.stack):
                self.stack[-arg] |= more
        elif op.startswith(_POPS):
            taken = self._pop(-effect)
            if op.startswith("POP_JUMP") and "NONE" not in op:
                self.joined.add(taken[0])
            if op in ("STORE_SUBSCR", "DELETE_SUBSCR", "STORE_SLICE"):
                self._note(taken[2 if op == "STORE_SLICE" else 1], write=True)
        elif effect > 0 and op.startswith(_PUSHES):
            self.stack += [NOTHING] * effect
        elif op == "BUILD_SLICE":
            self._pop(1 - effect)
            self.stack.append(frozenset({("const", slice)}))
        elif op == "BINARY_SUBSCR" or text == "[]":
            self._subscript()
        else:
            self._combine(op, effect)

    def _subscript(self) -> None:
        key, owner = self._pop(2)
        fixed = [p[1] for p in key if p[0] == "const"] if len(key) == 1 else []
        part = bool(fixed) and fixed[0] is slice  # of an array, a view
        if not part:
            self.joined.add(key | owner)
        if owner == GLOBALS and fixed:
            self.stack.append(self._note({("global", fixed[0])}))
        else:
            self._note(owner & GLOBALS)
            self.stack.append(self._note(_longer(owner, ("item", fixed[0]) if fixed and not part else ANY)))

    def _move(self, op: str, arg: Any) -> None:
        depth = {"ROT_TWO": 2, "ROT_THREE": 3, "ROT_FOUR": 4, "DUP_TOP": 1, "DUP_TOP_TWO": 2}.get(op, arg)
        self.stack[:0] = [NOTHING] * (depth - len(self.stack))
        if op == "SWAP":
            self.stack[-1], self.stack[-depth] = self.stack[-depth], self.stack[-1]
        elif op.startswith("ROT"):
            top = self.stack.pop()
            self.stack.insert(len(self.stack) + 1 - depth, top)
        else:
            self.stack += self.stack[-depth:] if op == "DUP_TOP_TWO" else [self.stack[-depth]]

    def _combine(self, op: str, effect: int) -> None:
        """Make one value, or several for a loop or an assignment to several, of all that an opcode takes."""
        taken = self._pop(max(-effect, 0) + 1)
        union = frozenset().union(*taken)
        if op.startswith(("CALL", "PRECALL")):
            union = self._call(union)
        for function in _BY_NAME.keys() & union:
            names = [p[1] for value in taken for p in value if p[0] == "const" and isinstance(p[1], str)]
            steps = [f"?{name}" for name in names] or [VARS]
            for step in steps:
                union |= self._note(_longer(union - _BY_NAME.keys(), step), write=_BY_NAME[function])
        self._note_asked(op, taken, union)
        if not op.startswith(_NEUTRAL):
            self.joined.add(union)
        if union != GLOBALS:
            self._note(union & GLOBALS)
            union = self._note(_longer(union, ANY)) | {path for path in union if path[0] == "name"}
        self.stack += [union] * (max(effect, 0) + 1)

    def _note_asked(self, op: str, taken: list[Value], union: Value) -> None:
        """Note the attributes that an iteration or a pattern asks for."""
        if op in ("GET_ITER", "UNPACK_SEQUENCE", "UNPACK_EX"):
            self._note(_longer(frozenset(path for path in union if ANY not in path), ".__iter__"))
        if op == "MATCH_CLASS":
            attributes = [name for path in taken[0] for name in path[1]]
            for step in [".__class__", *[f"?{name}" for name in attributes]] if attributes else [".__class__", VARS]:
                self._note(_longer(taken[2], step))

    def _call(self, union: Value) -> Value:
        """Return the paths to what a call makes something of, besides those that it takes."""
        if union and union <= {("global", "globals"), *GLOBALS}:
            return GLOBALS
        texts = [path[1] for path in union if path[0] == "const" and isinstance(path[1], str)]
        names = {("name", *chain) for text in texts for chain in names_in(text) if chain}
        names |= {path for path in union if path[0] == "name"}
        paths = frozenset(path for path in union if path[0] not in ("const", "name"))
        if ("global", "super") in paths:
            given = paths - {("global", "super")} or frozenset({("local", name) for name in self.arguments[:1]})
            return self._note(_longer(given, SUPER))
        if _CLASSES & paths:
            union |= self._note(_longer(paths - _CLASSES, ".__class__"))
        for _, *chain in names:
            found = _longer(paths, ANY)
            for name in chain:
                found = self._note(_longer(found, f".{name}"))
            union |= found
        return union | names | (frozenset() if paths else {("call", "")})

    def _pop(self, count: int) -> list[Value]:
        """Take values from the stack, the top first."""
        return [self.stack.pop() if self.stack else NOTHING for _ in range(count)]

    def _note(self, paths: Any, write: bool = False) -> Value:
        for path in paths:
            self.paths[path] = write and self.paths.get(path, True)
        return frozenset(paths)


def _longer(value: Value, step: Any) -> Value:
    """Return paths with one step more."""
    paths = (path for path in value if path[0] not in ("const", "name") and len(path) < LONGEST)
    return frozenset(path if step == ANY == path[-1] else (*path, step) for path in paths)
