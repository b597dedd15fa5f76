"""Who catches what: planted bugs and correct functions, put to this package's gradient checker and to those of others.

The bugs are those of `tests/mutations.py`, which stood beside our checker when it was written, and of `tests/planted`,
which did not. Each goes to each checker in the form that it takes, with its default tolerances, from the same inputs:

* PyTorch: ``torch.autograd.gradcheck`` of an ``autograd.Function``;
* JAX: ``jax.test_util.check_grads`` of a ``custom_vjp`` (order 1, reverse mode, 64 bits), whose NumPy code is called
  back. Arrays of JAX are immutable, so that code that writes into them raises, which counts as caught;
* HIPS: ``autograd.test_util.check_grads`` of a ``primitive`` (order 1, reverse mode).

MyGrad ships no checker. Caught means that the check fails, or that an error is raised, and that it does not for the
correct gradient at the same inputs; a checker that takes both for wrong catches nothing, and is said to reject both.
Our verdict "unresolved" is neither caught nor an alarm. PyTorch's engine sums a gradient of a larger shape to that of
its input before anyone sees it, so that two of the bugs are mended there and count for nobody. Random compositions of
correct functions follow, with the gradient that this package gives; those of modules and of float32 are left out, as
not everybody takes them. Checkers that draw random directions are seeded.
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
import mutations  # noqa: E402
import planted  # noqa: E402
from planted import Bug  # noqa: E402
from planted.compositions import composition  # noqa: E402

MENDED = {("broadcast not summed", "PyTorch"), ("broadcast summed with keepdims", "PyTorch")}
NOT_FOR_ALL = {"modules", "float32 inputs", "float32 inside"}
Checker = Callable[[Bug], bool]


def gradients(gradient: Callable[..., Any], g: Any, *inputs: Any) -> tuple[np.ndarray, ...]:
    found = gradient(g, *inputs)
    return tuple(map(np.asarray, found if isinstance(found, tuple) else (found,)))


def as_bug(seed: int) -> Bug:
    """Return a composition as a function of arrays, with its gradient."""
    from tinygrad_mlp import Tensor, grad

    _, family, f, inputs = composition(seed)

    def gradient(g: Any, *arrays: Any) -> tuple[np.ndarray, ...]:
        xs = [Tensor(np.array(a), requires_grad=True) for a in arrays]
        y = f(*xs)
        found = grad(y, xs, Tensor(np.array(g, float)), allow_unused=True) if y.requires_grad else [None] * len(xs)
        return tuple(np.zeros(x.shape) if a is None else a.numpy() for a, x in zip(found, xs, strict=True))

    forward = lambda *arrays: f(*(Tensor(np.array(a)) for a in arrays)).detach().numpy()
    return Bug(f"composition {seed}", family, forward, gradient, inputs if isinstance(inputs, list) else [inputs])


def ours() -> Checker:
    from tinygrad_mlp.tools.gradcheck import gradcheck

    def passes(bug: Bug) -> bool:
        f, gradient, inputs = bug.start()
        by_hand = gradient if np.ndim(f(*[a.copy() for a in inputs])) else lambda *x: gradient(1.0, *x)
        return gradcheck(f, inputs, gradient=by_hand, raise_on_fail=False).verdict != "fail"

    return passes


def pytorch() -> Checker:
    import torch

    def passes(bug: Bug) -> bool:
        f, gradient, inputs = bug.start()

        class Function(torch.autograd.Function):
            @staticmethod
            def forward(ctx, *xs):
                ctx.save_for_backward(*xs)
                return torch.from_numpy(np.array(f(*(x.detach().numpy() for x in xs))))

            @staticmethod
            def backward(ctx, g):
                found = gradients(gradient, g.numpy(), *(x.detach().numpy() for x in ctx.saved_tensors))
                return tuple(torch.from_numpy(np.array(a)) for a in found)

        torch.manual_seed(0)
        return torch.autograd.gradcheck(Function.apply, [torch.tensor(a.copy(), requires_grad=True) for a in inputs])

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
        f, gradient, inputs = bug.start()
        result = np.asarray(f(*[a.copy() for a in inputs]))
        found = gradients(bug.start()[1], np.ones(result.shape), *[a.copy() for a in inputs])

        @jax.custom_vjp
        def function(*xs):
            return called_back(lambda *xs: np.asarray(f(*xs)), result, *xs)

        function.defvjp(
            lambda *xs: (function(*xs), xs),
            lambda xs, g: called_back(lambda g, *xs: gradients(gradient, g, *xs), found, g, *xs),
        )
        check_grads(function, inputs, order=1, modes=["rev"])
        return True

    return passes


def hips() -> Checker:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    def passes(bug: Bug) -> bool:
        f, gradient, inputs = bug.start()
        function = primitive(lambda *xs: f(*xs))
        rule = lambda i: lambda ans, *xs: lambda g: gradients(gradient, g, *xs)[i]
        defvjp(function, *map(rule, range(len(inputs))))
        np.random.seed(0)  # noqa: NPY002 (the checker draws from it)
        many = tuple(range(len(inputs)))
        check_grads(function, many, modes=["rev"], order=1)(*inputs)
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


def installed() -> dict[str, Checker]:
    checkers: dict[str, Checker] = {}
    for name, make in {"ours": ours, "PyTorch": pytorch, "JAX": jax_checker, "HIPS": hips}.items():
        try:
            checkers[name] = make()
        except ImportError as error:
            print(f"{name} is missing: {error.msg}")
    return checkers


def corpora() -> dict[str, tuple[list[Bug], list[Bug]]]:
    """Return the bugs and the correct gradients of each corpus."""
    old = lambda bugs: [Bug(*bug) for bug in bugs]
    return {
        "tests/mutations.py": (old(mutations.BUGS), old(mutations.CORRECT)),
        "tests/planted": (planted.BUGS, planted.CORRECT),
    }


def examine(title: str, bugs: list[Bug], correct: list[Bug], checkers: dict[str, Checker], args: Any) -> None:
    """Print who catches which bugs of a corpus: by their kinds, or each by itself."""
    alarms = {bug.case: [verdict(passes, bug) for passes in checkers.values()] for bug in correct}
    found = {bug.name: [verdict(passes, bug) for passes in checkers.values()] for bug in bugs}
    rows: dict[str, list[str]] = {}
    for bug in bugs:
        pairs = zip(checkers, found[bug.name], alarms[bug.case], strict=True)
        rows[bug.name] = [word(bug.name, checker, caught, alarm) for checker, (caught, _), (alarm, _) in pairs]
    count = lambda said, rows: [str(sum(row[k] == said for row in rows)) for k in range(len(checkers))]
    if args.all:
        print_table([[title, *checkers], *([name, *row] for name, row in rows.items())])
    elif title == "tests/planted":
        kinds: dict[str, list[list[str]]] = {}
        for bug in bugs:
            kinds.setdefault(bug.kind, []).append(rows[bug.name])
        print_table(
            [[title, *checkers], *([f"{kind}, of {len(of)}", *count("caught", of)] for kind, of in kinds.items())]
        )
    print()
    totals = [[f"{what}, of {len(bugs)}", *count(what, rows.values())] for what in ("caught", "rejects both", "mended")]
    totals.insert(1, [f"missed, of {len(bugs)}", *count("-", rows.values())])
    false = [str(sum(row[k][0] for row in alarms.values())) for k in range(len(checkers))]
    print_table([[title, *checkers], *totals, [f"correct called wrong, of {len(correct)}", *false]])
    print()
    for name, row in {**alarms, **found}.items():
        for checker, (caught, text) in zip(checkers, row, strict=True):
            if args.why and caught and text:
                print(f"{'false alarm, ' if name in alarms else ''}{name}, {checker}: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="print each bug by itself, not its kind")
    parser.add_argument("--why", action="store_true", help="print what each checker said of each bug that it caught")
    parser.add_argument("--compositions", type=int, default=500, help="how many random compositions (default 500)")
    args = parser.parse_args()
    checkers = installed()
    print(versions(["numpy", "torch", "jax", "autograd"]) + "\n")
    for title, (bugs, correct) in corpora().items():
        examine(title, bugs, correct, checkers, args)
    bugs = [bug for bug in map(as_bug, range(args.compositions)) if bug.case not in NOT_FOR_ALL]
    alarms = [[verdict(passes, bug)[0] for passes in checkers.values()] for bug in bugs]
    families = {bug.case: [a for b, a in zip(bugs, alarms, strict=True) if b.case == bug.case] for bug in bugs}
    rows = [[f"{name}, of {len(of)}", *map(str, map(sum, zip(*of, strict=True)))] for name, of in families.items()]
    total = [f"all, of {len(bugs)}", *map(str, map(sum, zip(*alarms, strict=True)))]
    print_table([["compositions called wrong", *checkers], *rows, total])


if __name__ == "__main__":
    main()
