"""How many functions of NumPy and SciPy have a gradient here, in HIPS/autograd and in JAX: `python tests/ledger.py`.

A function counts where some call of it, on the samples of this package or on plain vectors and matrices, has a gradient
that is finite and not zero everywhere. Peers are asked for the function of the same name.
"""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import numpy.fft
from draws import Call, calls_of, results
from numpy.testing.overrides import get_overridable_numpy_array_functions, get_overridable_numpy_ufuncs

import tinygrad_mlp as tg

Function = Callable[..., Any]
VECTOR, MATRIX = np.array([0.3, 0.6, 0.45]), np.array([[0.9, 0.2], [0.3, 0.7]])


def paths() -> dict[str, list[str]]:
    """Return the names of the functions that are counted, by where they are."""
    everywhere = get_overridable_numpy_ufuncs() | get_overridable_numpy_array_functions()
    rooms = {"numpy": np, "numpy.linalg": np.linalg, "numpy.fft": np.fft}
    found = {}
    for room, module in rooms.items():
        named = {n: getattr(module, n) for n in dir(module) if n[0] != "_"}
        found[room] = sorted(n for n, f in named.items() if callable(f) and f in everywhere)
    special, linalg = import_module("scipy.special"), import_module("scipy.linalg")
    found["scipy.special"] = sorted(n for n in special.__all__ if callable(getattr(special, n)) and n[0].islower())
    found["scipy.linalg"] = sorted(n for n in linalg.__all__ if inspect.isfunction(getattr(linalg, n)))
    return found


def calls(function: Function) -> Iterator[Call]:
    """Yield calls to try: samples first, then what most functions take."""
    try:
        yield from calls_of(function)
    except TypeError:
        return
    for args in ((VECTOR,), (MATRIX,), (VECTOR, VECTOR[::-1]), (MATRIX, VECTOR[:2]), (1, VECTOR), (MATRIX, MATRIX.T)):
        yield Call(function, args, {})
    yield Call(function, (VECTOR, VECTOR[::-1], VECTOR), {})


def total(xp: Any, out: Any) -> Any:
    """Return a number that depends on all results that are not whole numbers."""
    parts = [part for part in results(out) if getattr(part, "dtype", np.dtype(int)).kind in "fc"]
    return sum(xp.sum(xp.real(part) * (1 + 0.1 * np.arange(part.size).reshape(part.shape))) for part in parts)


def has_gradient(function: Function, as_samples: Function, xp: Any, grad: Any) -> bool:
    """Return whether a function that is called as another one has a gradient in one of its calls."""
    for call in calls(as_samples):
        arrays = [np.asarray(a, np.float64) for a in call.arrays]
        on = call._replace(function=function).on
        for i in range(len(arrays)):
            others = [a.copy() for a in arrays]  # which a function may take for where to write
            at = lambda x, i=i, on=on, others=others: total(xp, on([*others[:i], x, *others[i + 1 :]]))
            try:
                slope = np.asarray(grad(at)(arrays[i].copy()))
            except Exception:  # whatever a peer raises, it gives no gradient of this call
                continue
            if np.isfinite(slope).all() and slope.any():
                return True
    return False


def contestants() -> dict[str, tuple[Any, Any, dict[str, str]]]:
    """Return for each package what stands for NumPy, its grad, and where the functions of each room are."""
    rooms = ("numpy", "numpy.linalg", "numpy.fft", "scipy.special", "scipy.linalg")
    ours = {room: f"tinygrad_mlp.{room}" if room.startswith("scipy") else room for room in rooms}
    found: dict[str, tuple[Any, Any, dict[str, str]]] = {"tinygrad_mlp": (np, tg.func.grad, ours)}
    for name, package in (("HIPS/autograd", "autograd"), ("JAX", "jax")):
        try:
            module, xp = import_module(package), import_module(f"{package}.numpy")
        except ImportError:
            continue
        if package == "jax":
            module.config.update("jax_enable_x64", True)
        found[name] = xp, module.grad, {room: f"{package}.{room}" for room in rooms}
    return found


def main() -> None:
    """Print the counts; with an argument, the names too."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    packages = contestants()
    print(f"{'':16}", *(f"{name:>14}" for name in packages))
    for room, names in paths().items():
        of = import_module(room)
        counted: dict[str, list[str]] = {}
        for package, (xp, grad, where) in packages.items():
            module = import_module(where[room])
            counted[package] = [
                n for n in names if hasattr(module, n) and has_gradient(getattr(module, n), getattr(of, n), xp, grad)
            ]
        print(f"{room:16}", *(f"{len(found):14}" for found in counted.values()), flush=True)
        if len(sys.argv) > 1:
            for package, found in counted.items():
                print(f"  {package}: {' '.join(found)}")


if __name__ == "__main__":
    main()
