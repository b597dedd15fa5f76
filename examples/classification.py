"""Tell male from female penguins by their measures: a table with text and gaps, read from a CSV file.

    python examples/classification.py

The sexes look alike: it took DNA from blood samples to tell them (`data/README.md` says by whom). Of 344 penguins in
the table 342 were measured, and the sex of 333 is known. Those teach and test the network, which then says what the
other nine may be.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

import tinygrad_mlp as tg
from tinygrad_mlp import nn, optim
from tinygrad_mlp.train.callbacks import EarlyStopping
from tinygrad_mlp.train.metrics import classification_report

TABLE = Path(__file__).parent / "data" / "penguins.csv"
MEASURES = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
SEXES = ["female", "male"]


def features(table, train):
    """Return the measures, scaled by those of the training rows, and a column of 0 and 1 for each species."""
    scaled = (table[MEASURES] - train[MEASURES].mean()) / train[MEASURES].std()
    return pd.concat([scaled, pd.get_dummies(table["species"], dtype=float)], axis=1)


def main(seed=0):
    """Train, print how well the network tells the sexes apart and what the nine may be; return the test accuracy."""
    order_rng, init_rng = np.random.default_rng(seed).spawn(2)
    table = pd.read_csv(TABLE, dtype={"species": "category"})  # so that a part without one species keeps its column
    measured = table.dropna(subset=MEASURES)
    unknown = measured[measured["sex"].isna()]
    known = measured.dropna(subset="sex").sample(frac=1, random_state=order_rng)
    train, validation, test = known[:200], known[200:266], known[266:]

    def task(part):
        return features(part, train), part["sex"].map(SEXES.index)

    X, y = task(train)
    model = nn.MLP([X.shape[1], 16, len(SEXES)], rng=init_rng)
    history = tg.fit(
        model,
        X,
        y,
        optimizer=optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.3),
        epochs=200,
        batch_size=32,
        validation=task(validation),
        seed=seed,
        callbacks=[EarlyStopping(patience=20)],
        progress=False,
    )
    print(f"{len(train)} rows to train on, {len(validation)} to validate on, {len(test)} to test on")
    print(f"{len(history.rows)} epochs; {history.stopped or 'all of them'}")

    X, y = task(test)
    accuracy = tg.evaluate(model, X, y)["accuracy"]
    commonest = train["sex"].mode()[0]
    print(f"\n{classification_report(tg.predict(model, X), y).set_axis(SEXES).round(3)}")
    print(f"\ntest accuracy {accuracy:.1%}; always saying {commonest}: {(test['sex'] == commonest).mean():.1%}")

    chances = tg.predict_proba(model, features(unknown, train))
    print("\nthe penguins of unknown sex")
    print(unknown[["species", *MEASURES]].assign(male=chances[:, 1].round(2)).to_string())
    return accuracy


if __name__ == "__main__":
    main()
