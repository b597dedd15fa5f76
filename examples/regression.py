"""Predict how strong concrete will be from what it is mixed of and how old it is: a table, read from a CSV file.

    python examples/regression.py

1030 samples of 427 mixes were crushed at ages from a day to a year (`data/README.md` says by whom). Each mix is either
trained on, validated on or tested on, at all its ages. Were the rows dealt out one by one instead, most mixes would be
known from another age, and the error would look better than it is: 5.0 MPa instead of 6.1, on average over ten splits.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import tinygrad_mlp as tg
from tinygrad_mlp import nn, optim
from tinygrad_mlp.train.callbacks import EarlyStopping

TABLE = Path(__file__).parent / "data" / "concrete.csv"
TARGET = "compressive_strength"  # in megapascals


def load():
    """Return the table, with the logarithm of the age: concrete hardens fast at first, and then ever more slowly."""
    table = pd.read_csv(TABLE)
    return table.assign(age=np.log(table["age"]))


def split(table, rng):
    """Return rows to train on, to validate on and to test on, with 60, 20 and 20 % of the mixes."""
    mix = table.groupby(list(table.columns.drop(["age", TARGET]))).ngroup()
    place = rng.permutation(mix.max() + 1)[mix] / (mix.max() + 1)
    return table[place < 0.6], table[(place >= 0.6) & (place < 0.8)], table[place >= 0.8]


def least_squares(X, y):
    """Return a function that predicts by the linear model that fits best, the baseline."""
    weights, *_ = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), y, rcond=None)
    return lambda X: np.column_stack([X, np.ones(len(X))]) @ weights


def main(seed=0):
    """Train, print the errors on mixes that nobody has seen, and return the network's, in megapascals."""
    split_rng, init_rng = np.random.default_rng(seed).spawn(2)
    parts = split(load(), split_rng)
    mean, std = parts[0].mean(), parts[0].std()  # of the rows that are trained on, and of no others
    scaled = [(part - mean) / std for part in parts]
    train, validation, test = ((part.drop(columns=TARGET), part[[TARGET]]) for part in scaled)

    model = nn.MLP([train[0].shape[1], 64, 64, 1], rng=init_rng)
    history = tg.fit(
        model,
        *train,
        loss="mse_loss",
        optimizer=optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.3),
        epochs=300,
        batch_size=32,
        validation=validation,
        seed=seed,
        callbacks=[EarlyStopping(patience=30)],
        progress=False,
    )
    print(f"{len(parts[0])} rows to train on, {len(parts[1])} to validate on, {len(parts[2])} to test on")
    print(f"{len(history.rows)} epochs; {history.stopped or 'all of them'}")

    X, y = test
    predictions = {
        "the mean of the training rows": np.zeros(y.shape),
        "least squares": least_squares(*train)(X),
        "the network": tg.predict(model, X),
    }
    errors = {name: float(std[TARGET] * np.sqrt(np.mean((p - y.to_numpy()) ** 2))) for name, p in predictions.items()}
    print("\nroot mean square error on the test rows")
    for name, error in errors.items():
        print(f"{error:5.2f} MPa  {name}")
    return errors["the network"]


if __name__ == "__main__":
    main()
