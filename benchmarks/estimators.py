"""scikit-learn's estimators beside ours, with the same parameters on the same splits: score and CPU seconds to fit.

    OPENBLAS_NUM_THREADS=1 python benchmarks/estimators.py [--seeds 5]

Each seed draws a split and both estimators' random state; the two are fitted in turn. Scores are accuracy or R2 on the
quarter that is held out.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
from sklearn import datasets, neural_network
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import tinygrad_mlp as tg
from tinygrad_mlp import sklearn as ours

DATA = Path(__file__).parents[1] / "examples" / "data"


def mnist():
    X, y, _, _ = tg.load_mnist(DATA / "mnist.npz")
    return X[:16_000] / 255.0, y[:16_000]


def concrete():
    table = pd.read_csv(DATA / "concrete.csv").to_numpy()
    return table[:, :-1], table[:, -1]


SETS = {  # name: data, whether columns are scaled, parameters besides the defaults
    "breast cancer": (lambda: datasets.load_breast_cancer(return_X_y=True), True, {}),
    "digits": (lambda: datasets.load_digits(return_X_y=True), True, {}),
    "concrete": (concrete, True, {"learning_rate_init": 0.01, "max_iter": 300}),
    "MNIST, 16 000": (mnist, False, {"max_iter": 15, "n_iter_no_change": 15}),
    "Friedman 1, 20 000": (
        lambda: datasets.make_friedman1(20_000, noise=1.0, random_state=0),
        True,
        {"max_iter": 15, "n_iter_no_change": 15},
    ),
}


def fit(module, X_train, y_train, X_test, y_test, options):
    """Return score, CPU seconds and epochs of one estimator."""
    kind = "MLPRegressor" if y_train.dtype.kind == "f" else "MLPClassifier"
    estimator = getattr(module, kind)(**options)
    start = process_time()
    estimator.fit(X_train, y_train)
    seconds = process_time() - start
    return estimator.score(X_test, y_test), seconds, estimator.n_iter_


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(
        "| data set | rows, columns | score: ours | scikit-learn | CPU seconds: ours | scikit-learn | ratio | epochs |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, (load, scaled, options) in SETS.items():
        X, y = load()
        found = []
        for seed in range(seeds):
            X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=seed)
            if scaled:
                scaler = StandardScaler().fit(X_train)
                X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)
            part = (X_train, y_train, X_test, y_test, {**options, "random_state": seed})
            found.append([fit(module, *part) for module in (ours, neural_network)])
        (s, t, n), (their_s, their_t, their_n) = np.array(found).transpose(1, 2, 0)
        print(
            f"| {name} | {len(X_train)}, {X.shape[1]} | {s.mean():.4f} ± {s.std(ddof=1):.4f} "
            f"| {their_s.mean():.4f} ± {their_s.std(ddof=1):.4f} | {np.median(t):.2f} | {np.median(their_t):.2f} "
            f"| {np.median(t / their_t):.2f} | {n.mean():.0f}, {their_n.mean():.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
