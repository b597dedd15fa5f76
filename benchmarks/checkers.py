"""Who catches what: the bugs that `tests/mutations.py` plants, put to this package's checker and to those of others.

Each bug goes to each checker in the form that it takes, with its default tolerances, and from the same inputs:

* PyTorch: ``torch.autograd.gradcheck`` of an ``autograd.Function``;
* JAX: ``jax.test_util.check_grads`` of a ``custom_vjp`` (order 1, reverse mode, 64 bits), whose NumPy code is called
  back. Arrays of JAX are immutable, so that code that writes into them raises, which counts as caught;
* HIPS: ``autograd.test_util.check_grads`` of a ``primitive`` (order 1, reverse mode).

Caught means that the check fails, or that an error is raised; our verdict "unresolved" is neither caught nor an alarm.
The correct gradients are put to all as well, some of them on kinks or of badly scaled functions: "rejects both" says
that a checker takes the correct gradient for wrong too, which catches nothing. PyTorch's engine sums a gradient of a
larger shape to that of its input before anyone sees it, so that two of the bugs are mended there and count for nobody.
Checkers that draw random directions are seeded.
"""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import print_table, versions

sys.path[:0] = [str(Path(__file__).parents[1] / "tests"), str(Path(__file__).parents[1])]
from mutations import BUGS, CORRECT, UNRESOLVED, Bug, fresh  # noqa: E402

MENDED = {("broadcast not summed", "PyTorch"), ("broadcast summed with keepdims", "PyTorch")}
Checker = Callable[[Bug], bool]


def gradients(bug: Bug, g: Any, *inputs: Any) -> tuple[np.ndarray, ...]:
    found = bug.gradient(g, *inputs)
    return tuple(map(np.asarray, found if isinstance(found, tuple) else (found,)))


def ours() -> Checker:
    from tinygrad_mlp.tools.gradcheck import gradcheck

    def passes(bug: Bug) -> bool:
        scalar = not np.ndim(bug.f(*fresh(bug)))
        gradient = (lambda *x: bug.gradient(1.0, *x)) if scalar else bug.gradient
        return gradcheck(bug.f, fresh(bug), gradient=gradient, raise_on_fail=False).verdict != "fail"

    return passes


def pytorch() -> Checker:
    import torch

    def passes(bug: Bug) -> bool:
        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *xs):
                ctx.save_for_backward(*xs)
                return torch.from_numpy(np.array(bug.f(*(x.detach().numpy() for x in xs))))

            @staticmethod
            def backward(ctx, g):
                found = gradients(bug, g.numpy(), *(x.detach().numpy() for x in ctx.saved_tensors))
                return tuple(torch.from_numpy(np.array(a)) for a in found)

        torch.manual_seed(0)
        return torch.autograd.gradcheck(Function.apply, [torch.tensor(a, requires_grad=True) for a in fresh(bug)])

    return passes


def jax_checker() -> Checker:
    import jax
    from jax.test_util import check_grads

    logging.getLogger("jax").setLevel(logging.CRITICAL)
    jax.config.update("jax_enable_x64", True)

    def called_back(function: Callable[..., Any], example: Any, *args: Any) -> Any:
        """Call NumPy code on arrays of JAX as NumPy sees them, which is read-only."""
        shapes = jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), np.asarray(a).dtype), example)
        return jax.pure_callback(lambda *args: function(*map(np.asarray, args)), shapes, *args)

    def passes(bug: Bug) -> bool:
        result = np.asarray(bug.f(*fresh(bug)))
        found = gradients(bug, np.ones(result.shape), *fresh(bug))

        @jax.custom_vjp
        def function(*xs):
            return called_back(lambda *xs: np.asarray(bug.f(*xs)), result, *xs)

        function.defvjp(
            lambda *xs: (function(*xs), xs),
            lambda xs, g: called_back(lambda g, *xs: gradients(bug, g, *xs), found, g, *xs),
        )
        check_grads(function, fresh(bug), order=1, modes=["rev"])
        return True

    return passes


def hips() -> Checker:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    def passes(bug: Bug) -> bool:
        function = primitive(lambda *xs: bug.f(*xs))
        rule = lambda i: lambda ans, *xs: lambda g: gradients(bug, g, *xs)[i]
        defvjp(function, *map(rule, range(len(bug.inputs))))
        np.random.seed(0)  # noqa: NPY002 (the checker draws from it)
        many = tuple(range(len(bug.inputs)))
        check_grads(function, many, modes=["rev"], order=1)(*fresh(bug))
        return True

    return passes


def verdict(passes: Checker, bug: Bug) -> tuple[bool, str]:
    """Return whether the checker caught the bug, and what it said."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return not passes(bug), ""
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        return True, f"{type(error).__name__}: {lines[0]}"


def word(name: str, checker: str, caught: bool, alarm: bool) -> str:
    if (name, checker) in MENDED:
        return "mended"
    return ("rejects both" if alarm else "caught") if caught else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--why", action="store_true", help="print what each checker said of each bug that it caught")
    why = parser.parse_args().why
    checkers: dict[str, Checker] = {}
    for name, make in {"ours": ours, "PyTorch": pytorch, "JAX": jax_checker, "HIPS": hips}.items():
        try:
            checkers[name] = make()
        except ImportError as error:
            print(f"{name} is missing: {error.msg}")
    print(versions(["numpy", "torch", "jax", "autograd"]) + "\n")
    alarms = {bug.name: [verdict(passes, bug) for passes in checkers.values()] for bug in CORRECT}
    found = {bug.name: [verdict(passes, bug) for passes in checkers.values()] for bug in BUGS}
    rows = []
    for bug in BUGS:
        pairs = zip(checkers, found[bug.name], alarms[bug.case], strict=True)
        rows.append([bug.name, *(word(bug.name, checker, caught, alarm) for checker, (caught, _), (alarm, _) in pairs)])
    columns = list(zip(*rows, strict=True))[1:]
    rows.append(["caught", *(f"{c.count('caught')} of {len(c) - c.count('mended')}" for c in columns)])
    false = [sum(row[k][0] for row in alarms.values()) for k in range(len(checkers))]
    rows.append(["false alarms", *(f"{n} of {len(CORRECT)}" for n in false)])
    print_table([["planted bug", *checkers], *rows])
    print(f"\nOf the correct gradients, ours leaves unresolved: {', '.join(UNRESOLVED)}.")
    for name, row in {**alarms, **found}.items():
        for checker, (caught, text) in zip(checkers, row, strict=True):
            if caught and text and (why or name in alarms):
                print(f"{'false alarm, ' if name in alarms else ''}{name}, {checker}: {text}")


if __name__ == "__main__":
    main()
