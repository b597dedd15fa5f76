"""Symmetric matrices, factorisations, linear solves and fixed points, and spectra."""

from __future__ import annotations

import numpy as np

from .base import Array, Case, definite, normal

S3, B3, A3 = definite(3), normal(3), normal(3, 3, seed=1) + 3 * np.eye(3)
PAIRS = np.triu_indices(3)


def symmetric(v: Array) -> Array:
    """Return the symmetric matrix of six numbers."""
    out = np.zeros((3, 3), v.dtype)
    out[PAIRS] = v
    return out + np.triu(out, 1).T


def packed(a: Array, twice: bool = True) -> Array:
    return (a + np.triu(a.T, 1) * twice)[PAIRS]


def solve(a: Array, b: Array) -> Array:
    return np.linalg.solve(a, b)


def solve_back(g: Array, a: Array, b: Array, turned: bool = True, minus: float = -1.0) -> tuple[Array, Array]:
    db = solve(a.T if turned else a, g)
    return minus * np.outer(db, solve(a, b)), db


def least_squares(a: Array, b: Array) -> Array:
    return solve(a.T @ a, a.T @ b)


def least_squares_back(g: Array, a: Array, b: Array, residual: float = 1.0) -> tuple[Array, Array]:
    x, z = least_squares(a, b), solve(a.T @ a, g)
    return residual * np.outer(b - a @ x, z) - np.outer(a @ z, x), a @ z


def ridge_back(g: Array, s: Array, lam: Array, turn: float = 1.0) -> tuple[Array, Array]:
    m = s + lam * np.eye(3)
    z, x = solve(m.T, g), solve(m, B3)
    return -np.outer(z, x), -turn * z @ x


def cholesky_back(g: Array, a: Array, half: float = 0.5) -> Array:
    low = np.linalg.cholesky(a)
    p = np.tril(low.T @ g)
    p[np.diag_indices(3)] *= half
    s = np.linalg.solve(low.T, p) @ np.linalg.inv(low)
    return (s + s.T) / 2


def lower(a: Array) -> Array:
    return np.linalg.cholesky((a + a.T) / 2)


def eigenvalues(a: Array) -> Array:
    return np.linalg.eigvalsh((a + a.T) / 2)


def eigenvalues_back(g: Array, a: Array, squared: bool = False) -> Array:
    v = np.linalg.eigh((a + a.T) / 2)[1]
    return (v * v) * g if squared else (v * g) @ v.T


def fixed_point(w: Array, b: Array) -> Array:
    """Return z = tanh(W z + b)."""
    z = np.zeros(b.shape, np.result_type(w, b))
    for _ in range(200):
        z = np.tanh(w @ z + b)
    return z


def fixed_point_back(g: Array, w: Array, b: Array, turned: bool = True, solved: bool = True) -> tuple[Array, Array]:
    z = fixed_point(w, b)
    slope = 1 - z * z
    j = np.eye(3) - slope[:, None] * w
    u = slope * (np.linalg.solve(j.T if turned else j, g) if solved else g)
    return np.outer(u, z), u


def root_back(g: Array, a: Array, wrong: float = 1.0) -> Array:
    """Return the gradient of the root of x**3 + x = a, found by iteration."""
    return g / (3 * cubic_root(a) ** 2 + wrong)


def cubic_root(a: Array) -> Array:
    x = a / 2
    for _ in range(60):
        x = x - (x**3 + x - a) / (3 * x * x + 1)
    return x


def adjugate_back(g: Array, a: Array, turned: bool = True) -> Array:
    inv = np.linalg.inv(a)
    return g * (inv.T if turned else inv)


def power_back(g: Array, a: Array, terms: int = 3) -> Array:
    return sum(np.linalg.matrix_power(a.T, k) @ g @ np.linalg.matrix_power(a.T, 2 - k) for k in range(terms))


def exponential(a: Array) -> Array:
    out, term = np.eye(3) + 0 * a, np.eye(3) + 0 * a
    for k in range(1, 30):
        term = term @ a / k
        out = out + term
    return out


def exponential_back(g: Array, a: Array, commutes: bool = False) -> Array:
    """Return the gradient of the exponential, as a block of the exponential of a larger matrix."""
    if commutes:
        return g @ exponential(a).T
    big = np.block([[a.T, g], [np.zeros((3, 3)), a.T]])
    out, term = np.eye(6), np.eye(6)
    for k in range(1, 40):
        term = term @ big / k
        out = out + term
    return out[:3, 3:]


SYMMETRIC = {
    "quadratic form": Case(
        lambda a, x: x @ a @ x, lambda g, a, x: (g * np.outer(x, x), g * (a + a.T) @ x), [A3, B3],
        {
            "symmetric: 2 A x of a matrix that is not": lambda g, a, x: (g * np.outer(x, x), 2 * g * a @ x),
            "symmetric: one side of a quadratic form": lambda g, a, x: (g * np.outer(x, x), g * a @ x),
        },
    ),
    "form of packed entries": Case(
        lambda v, x: x @ symmetric(v) @ x,
        lambda g, v, x: (packed(g * np.outer(x, x)), 2 * g * symmetric(v) @ x), [normal(6), B3],
        {"symmetric: entries beside the diagonal once": lambda g, v, x: (
            packed(g * np.outer(x, x), False), 2 * g * symmetric(v) @ x)},
    ),
    "A A'": Case(
        lambda a: a @ a.T, lambda g, a: (g + g.T) @ a, [A3],
        {"symmetric: 2 g A": lambda g, a: 2 * g @ a, "missing term: one A of A A'": lambda g, a: g @ a},
    ),
    "log det of packed entries": Case(
        lambda v: np.linalg.slogdet(symmetric(v))[1], lambda g, v: packed(g * np.linalg.inv(symmetric(v))),
        [S3[PAIRS]], {"symmetric: log det's pairs once": lambda g, v: packed(g * np.linalg.inv(symmetric(v)), False)},
    ),
    "symmetric part": Case(
        lambda a: np.tanh(a + a.T),
        lambda g, a: (g * (1 - np.tanh(a + a.T) ** 2)) + (g * (1 - np.tanh(a + a.T) ** 2)).T, [A3],
        {"symmetric: doubled where the transpose belongs": lambda g, a: 2 * g * (1 - np.tanh(a + a.T) ** 2)},
    ),
    "squared distances": Case(
        lambda x: ((x[:, None] - x) ** 2).sum(axis=2),
        lambda g, x: 2 * ((g + g.T).sum(axis=1)[:, None] * x - (g + g.T) @ x), [normal(4, 2)],
        {"symmetric: distances seen from one end": lambda g, x: 2 * (g.sum(axis=1)[:, None] * x - g @ x)},
    ),
}  # fmt: skip

IMPLICIT = {
    "solve": Case(
        solve, solve_back, [A3, B3],
        {
            "implicit: solve without the transpose": lambda g, a, b: solve_back(g, a, b, turned=False),
            "implicit: sign of the matrix's gradient": lambda g, a, b: solve_back(g, a, b, minus=1.0),
            "implicit: outer product turned": lambda g, a, b: (solve_back(g, a, b)[0].T, solve_back(g, a, b)[1]),
        },
    ),
    "least squares": Case(
        least_squares, least_squares_back, [normal(5, 3), normal(5)],
        {"implicit: residual's term of least squares": lambda g, a, b: least_squares_back(g, a, b, 0.0)},
    ),
    "ridge": Case(
        lambda s, lam: solve(s + lam * np.eye(3), B3), ridge_back, [A3, np.array(0.4)],
        {"implicit: sign of the ridge": lambda g, s, lam: ridge_back(g, s, lam, -1.0)},
    ),
    "fixed point": Case(
        fixed_point, fixed_point_back, [normal(3, 3) / 4, B3],
        {
            "implicit: equilibrium through one step alone": lambda g, w, b: fixed_point_back(g, w, b, solved=False),
            "implicit: equilibrium without the transpose": lambda g, w, b: fixed_point_back(g, w, b, turned=False),
        },
    ),
    "root of a cubic": Case(
        cubic_root, root_back, [normal(4)],
        {
            "implicit: slope of the equation without its 1": lambda g, a: root_back(g, a, 0.0),
            "stale cache: slope at the start of an iteration": lambda g, a: g / (3 * (a / 2) ** 2 + 1),
        },
    ),
}  # fmt: skip

FACTORS = {
    "cholesky": Case(
        lower, cholesky_back, [S3],
        {
            "implicit: diagonal of Cholesky not halved": lambda g, a: cholesky_back(g, a, 1.0),
            "symmetric: Cholesky's lower triangle doubled": lambda g, a: np.tril(2 * cholesky_back(g, a)),
        },
    ),
    "eigenvalues": Case(
        eigenvalues, eigenvalues_back, [S3],
        {"wrong formula: squares of eigenvectors": lambda g, a: eigenvalues_back(g, a, True)}
    ),
    "log det": Case(
        lambda a: np.linalg.slogdet(a)[1], adjugate_back, [A3],
        {"transpose: inverse of log det": lambda g, a: adjugate_back(g, a, False)},
    ),
    "third power of a matrix": Case(
        lambda a: a @ a @ a, power_back, [A3],
        {
            "missing term: one factor of a matrix power": lambda g, a: power_back(g, a, 2),
            "wrong formula: 3 A A as of numbers": lambda g, a: 3 * g @ (a @ a).T,
        },
    ),
    "matrix exponential": Case(
        exponential, exponential_back, [A3 / 3],
        {"wrong formula: exponential as if all commuted": lambda g, a: exponential_back(g, a, True)}
    ),
    "trace of a product": Case(
        lambda a, b: np.trace(a @ b), lambda g, a, b: (g * b.T, g * a.T), [A3, normal(3, 3)],
        {"transpose: trace of a product": lambda g, a, b: (g * b, g * a)},
    ),
    "condition of scaling": Case(
        lambda d: np.linalg.inv(S3 * d[:, None] * d).sum(),
        lambda g, d: -2 * g * np.linalg.inv(S3 * d[:, None] * d).sum(axis=0) / d,
        [np.array([0.7, 1.3, 1.9])],
        {"symmetric: scale of rows, not of columns":
            lambda g, d: -g * np.linalg.inv(S3 * d[:, None] * d).sum(axis=0) / d},
    ),
}  # fmt: skip

CASES = {**SYMMETRIC, **IMPLICIT, **FACTORS}
