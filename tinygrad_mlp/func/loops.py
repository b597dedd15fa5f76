"""Loops as one op: `scan` keeps what its reverse needs, the states, and computes the rest of each step again."""

from __future__ import annotations

import functools
import types
import weakref
from collections.abc import Callable
from typing import Any, ParamSpec

import numpy as np

from ..checks import check_integer
from ..core.tensor import Tensor
from ..core.tracer import mode
from ..errors import ShapeError, describe
from ..jit.function import Jitted
from ..jit.live import recorded
from ..jit.record import Slot
from ..rules import table
from ..trees import leaves, tree_map
from . import transforms
from .packed import Function, Layout, apart, first_alike, lifted, packed, tried, watcher

P = ParamSpec("P")


class Loop:
    """``steps`` steps of ``step(state, x, constants)``, a function of vectors that gives the next state and a result.

    The vector that it is computed of holds the first state, an ``x`` for each step, and the constants. The result has
    a row for each step: the state after it, and its result. Its gradient is a loop backwards, and its derivative along
    a direction one forwards; so there are derivatives of any order, and neither mode goes through the other's.
    """

    def __init__(self, step: Function, steps: int, sizes: tuple[int, int, int, int]) -> None:
        self.step, self.steps, self.sizes = step, steps, sizes
        self.program = Jitted(step, strict=False)

    def _split(self, z: Any) -> tuple[Any, Any, Any]:
        states, inputs, constants, _ = self.sizes
        end = z.shape[0] - constants
        return z[:states], z[states:end].reshape((self.steps, inputs)), z[end:]

    def forward(self, z: Any) -> Any:
        """Run the loop on arrays; each step is one program."""
        state, xs, constants = self._split(z)
        out = np.empty((self.steps, self.sizes[0] + self.sizes[3]), z.dtype)
        known: Any = None
        for i, x in enumerate(xs):
            if known is None:  # the first step of each loop sees whether the program holds
                result = self.program(state, x, constants)
                out[i], known = (result._data if isinstance(result, Tensor) else result), self._known()
            else:
                (out[i],) = known(state, x, constants)
            state = out[i, : self.sizes[0]]
        return out

    @property
    def listing(self) -> str:
        """The loop as text: its program, and one ``for`` over it. The reverse is another loop, over its derivative."""
        if self.program.last is None:
            return ""
        states, inputs, constants, results = self.sizes
        lines = [
            f"def packed(z, op):  # {self.steps} steps of {self.program.__name__}",
            f"    state, xs, held = z[:{states}], z[{states}:z.size - {constants}], z[z.size - {constants}:]",
            f"    out = np.empty(({self.steps}, {states + results}), z.dtype)",
            f"    for i, x in enumerate(xs.reshape(({self.steps}, {inputs}))):",
            f"        (out[i],) = {self.program.__name__}(state, x, held)",
            f"        state = out[i, :{states}]",
            "    return out",
        ]
        return "\n".join([self.program.source, "", *lines])

    def _known(self) -> Function | None:
        """Return the program itself, if there is one that does nothing besides."""
        last = self.program.last
        if last is None or last.program is None or last.grads or last.versions or last.record.modes:
            return None
        return last.step if isinstance(last.results[0], Slot) else None

    def reverse(self, g: Any, out: Any, z: Any) -> Any:
        """Return the gradient of ``z``."""
        return pulled(g, out, z, op=self)

    def back(self, g: Any, out: Any, z: Any) -> Any:
        """Return the gradient of ``z``, by a loop backwards, whose state is the gradient of the state and constants."""
        states, _, constants, _ = self.sizes
        first, xs, held = self._split(z)
        before = np.concatenate([first.reshape((1, states)), out[:-1, :states]])
        seen = np.flip(np.concatenate([before, xs, g], 1), 0)
        start = np.zeros(states + constants, z.dtype)
        back = packed(np.concatenate([start, seen.reshape(-1), held]), op=self.backwards)
        last, of_xs = back[-1], np.flip(back[:, states + constants :], 0)
        return np.concatenate([last[:states], of_xs.reshape(-1), last[states : states + constants]])

    def push(self, v: Any, z: Any) -> Any:
        """Return the derivative of the result along ``v``, by a loop whose state is the state and its derivative."""
        states, results = self.sizes[0], self.sizes[3]
        (first, xs, held), (of_first, of_xs, of_held) = self._split(z), self._split(v)
        rows = np.concatenate([xs, of_xs], 1).reshape(-1)
        out = packed(np.concatenate([first, of_first, rows, held, of_held]), op=self.tangents)
        return np.concatenate([out[:, states : 2 * states], out[:, 2 * states + results :]], 1)

    @functools.cached_property
    def backwards(self) -> Loop:
        """The loop that `back` runs."""
        states, inputs, constants, results = self.sizes
        step = self.step

        def back(gradients: Any, seen: Any, held: Any) -> Any:
            state, x, g = seen[:states], seen[states : states + inputs], seen[states + inputs :]
            _, pull = transforms.vjp(step, state, x, held)
            of_state, of_x, of_held = pull(np.concatenate([g[:states] + gradients[:states], g[states:]]))
            return np.concatenate([of_state, gradients[states:] + of_held, of_x])

        sizes = (states + constants, states + inputs + states + results, constants, inputs)
        return Loop(back, self.steps, sizes)

    @functools.cached_property
    def tangents(self) -> Loop:
        """The loop that `push` runs."""
        states, inputs, constants, results = self.sizes
        step = self.step

        def along(state: Any, x: Any, held: Any) -> Any:
            at = state[:states], x[:inputs], held[:constants]
            out, d = transforms.jvp(step, at, (state[states:], x[inputs:], held[constants:]))
            return np.concatenate([out[:states], d[:states], out[states:], d[states:]])

        return Loop(along, self.steps, (2 * states, 2 * inputs, 2 * constants, 2 * results))


@table.primitive
def pulled(g: Any, out: Any, z: Any, *, op: Loop) -> Any:
    """Return the gradient of the vector of a loop: ``J.T @ g``, where ``out`` is what the loop gave."""
    with apart(watcher()):
        return op.back(g, out, z)


def _second(v: Any, g: Any, z: Any, op: Loop) -> Any:
    """Return the derivative of ``v @ J.T @ g`` by ``z``: that of the derivative along ``v``, with ``g`` upstream."""
    _, pull = transforms.vjp(lambda z: op.push(v, z), z)
    return pull(g)[0]


table.vjp(
    pulled,
    lambda v, _, g, out, z, *, op: op.push(v, z),
    None,  # it is a function of z, whose rule counts for both
    lambda v, _, g, out, z, *, op: _second(v, g, z, op),
)


_LOOPS: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()
"""For each function the loops that were made of it, so that each is compiled once."""


def scan(f: Function, init: Any, xs: Any = None, length: int | None = None, args: tuple[Any, ...] = ()) -> Any:
    """Run ``carry, y = f(carry, x, *args)`` for each x in order; return the last carry and all y, stacked.

    ``jax.lax.scan``, with ``args``: what all steps share, and what gradients flow to besides ``init`` and ``xs``. The
    loop is one op of the graph, whose steps are one program. Its reverse keeps the carries alone and computes the rest
    of each step again, so that memory is the number of steps times the size of the carry.

    Args:
        f: a function of Tensors, which gives the next carry, a tree like the one before, and a tree, or None.
        init: the first carry, a tree of arrays and floats.
        xs: a tree of arrays, along whose first axis the loop runs; None where there is nothing to run along.
        length: the number of steps, where ``xs`` is None.
        args: further arguments of ``f``, trees too; Tensors that ``f`` takes from around it are refused.

    Raises:
        GraphError: ``f`` uses a Tensor from around it, whose gradient would be lost, or draws random numbers, which
            the reverse would draw anew. (Arrays from around it are read anew, too: leave them as they are.)
        ShapeError: the carry changes its shape, or the arrays of ``xs`` differ in length.

    >>> total, sums = scan(lambda c, x: (c + x, c + x), 0.0, np.arange(4.0))
    >>> total, sums
    (np.float64(6.0), array([0., 1., 3., 6.]))
    """
    plain = not any(isinstance(a, Tensor) for a in leaves((init, xs, args))) and not mode.tracer.replays
    init, xs, args = tree_map(recorded, (init, xs, args))
    init, steps = _counted(init), _steps(xs, length)
    layouts = Layout(init), Layout(xs, rows=True), Layout(args)
    dtype = np.dtype(np.float32 if all(layout.narrow for layout in layouts) else np.float64)
    loop, results = _loop(first_alike(f), (init, xs, args), layouts, steps, dtype)
    carries, rows, shared = layouts
    z = [carries.pack(init, dtype), rows.pack(xs, dtype).reshape(-1), shared.pack(args, dtype)]
    out = packed(np.concatenate(z), op=loop)
    found = carries.unpack(out[-1, : carries.size]), results.unpack(out[:, carries.size :])
    return tree_map(lambda a: a[()] if plain and isinstance(a, np.ndarray) and not a.ndim else a, found)


def _counted(tree: Any) -> Any:
    """Return a tree with arrays in place of its whole numbers, which move like all others."""
    return tree_map(lambda a: np.asarray(a) if isinstance(a, (int, np.integer, np.bool_)) else a, tree)


def _steps(xs: Any, length: int | None) -> int:
    counts = {len(a) if np.ndim(a) else None for a in leaves(xs)}
    if None in counts or len(counts) > 1:
        hint = "write np.array(xs), since a list is a tree" if None in counts else "make them equal"
        raise ShapeError(f"the arrays in xs have a first axis of one length, {describe(xs)} has not; {hint}")
    if not counts:
        return check_integer("length", length)
    (steps,) = counts
    if length not in (None, steps) or not steps:
        raise ShapeError(f"xs has {steps} steps, and length is {length}; scan takes one step or more")
    return int(steps)


def _loop(f: Function, given: Any, layouts: Any, steps: int, dtype: Any) -> tuple[Loop, Layout]:
    """Return the loop of a function on arguments that lie so, and how the results of a step lie."""
    carries, rows, shared = layouts
    init, xs, args = given
    first = init, tree_map(lambda a: a[0], xs), *args
    pair = tried("scan", f, _detached(first), isinstance(f, types.FunctionType) and f in _LOOPS)
    if not (isinstance(pair, tuple) and len(pair) == 2):
        raise TypeError(f"scan takes a function that returns a pair, the next carry and a result; got {describe(pair)}")
    new, result = map(_counted, pair)
    carries.check(new, "the next carry")
    results = Layout(result)
    key = (steps, dtype, carries.key, rows.key, shared.key, results.key)

    def step(state: Any, x: Any, held: Any) -> Any:
        carry, y = map(_counted, f(carries.unpack(state), rows.unpack(x), *shared.unpack(held)))
        return np.concatenate([carries.pack(carry, dtype), results.pack(y, dtype)])

    if (name := getattr(f, "__name__", "")).isidentifier():
        step.__name__ = name  # in the text of the loop
    try:
        known = _LOOPS.setdefault(f, {})
    except TypeError:
        known = {}
    if key not in known:
        sizes = (carries.size, rows.size, shared.size, results.size)
        known[key] = Loop(step, steps, sizes)
    return known[key], results


def _detached(tree: Any) -> Any:
    """Return a tree with Tensors of their own in place of its arrays and floats."""
    return lifted(tree_map(lambda a: a.detach() if isinstance(a, Tensor) else a, tree))


def checkpoint(f: Callable[P, Any]) -> Callable[P, Any]:
    """Return a function that keeps its arguments alone for the reverse, and then computes the rest again.

    So a graph needs less memory, and takes one more forward pass. Results and gradients are those of ``f``, which
    takes trees of arrays and gives one. What `scan` refuses it does, too: Tensors from around it, and random numbers.

    >>> from tinygrad_mlp import func
    >>> func.grad(checkpoint(lambda x: np.sum(np.tanh(x) ** 2)))(np.array([0.0, 1.0])).round(4)
    array([0.    , 0.6397])
    """
    transforms._checked(f, "checkpoint")

    def step(carry: Any, x: Any, args: Any, options: Any) -> Any:
        return carry, f(*args, **options)

    @functools.wraps(f)
    def again(*args: Any, **options: Any) -> Any:
        return tree_map(lambda y: y[0], scan(step, (), None, 1, (args, options))[1])

    return again
