"""Search for the best network by cross-validation, on all cores or on a Dask cluster.

    python examples/sweep.py [--backend loky|dask] [--workers 2] [--scheduler tcp://host:8786]

The search is scikit-learn's, the processes are joblib's: with ``dask``, those of a cluster, which is started here
unless the address of a scheduler is given. It needs the extra ``sklearn``, and ``pip install 'dask[distributed]'``.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path

sys.path[:] = [path for path in sys.path if Path(path) != Path(__file__).parent]  # Dask has a distributed.py too

import joblib
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tinygrad_mlp.sklearn import MLPClassifier

GRID = {
    "mlpclassifier__hidden_layer_sizes": [(16,), (64,)],
    "mlpclassifier__dropout": [0.0, 0.2],
}


def search(rows=1797, **options):
    """Return the fitted search: four networks, three times each."""
    X, y = load_digits(return_X_y=True)
    network = MLPClassifier(max_iter=15, tol=-1e9, learning_rate_init=0.01, n_iter_no_change=15, random_state=0)
    grid = GridSearchCV(make_pipeline(StandardScaler(), network), GRID, cv=3, **options)
    return grid.fit(X[:rows], y[:rows])


def main(arguments=None):
    """Run the search where the options say, print what it found, and return it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", choices=["loky", "dask"], default="loky")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--scheduler", help="of a Dask cluster that is there already")
    parser.add_argument("--rows", type=int, default=1797)
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")  # no network is trained to its end
    os.environ["PYTHONWARNINGS"] = "ignore"  # in the workers too
    with ExitStack() as stack:
        if options.backend == "dask":
            from dask.distributed import Client, LocalCluster

            where = options.scheduler or stack.enter_context(
                LocalCluster(n_workers=options.workers, threads_per_worker=1, dashboard_address=None)
            )
            client = stack.enter_context(Client(where))
            print(f"Dask: {len(client.scheduler_info()['workers'])} workers at {client.scheduler.address}")
        stack.enter_context(joblib.parallel_config(options.backend, n_jobs=options.workers))
        found = search(options.rows)
    print(f"best of {len(found.cv_results_['params'])}: {found.best_score_:.2%} with {found.best_params_}")
    return found


if __name__ == "__main__":
    main()
