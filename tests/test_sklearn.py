"""The estimators for scikit-learn: its own checks, its own estimators beside ours, and what those do not have."""

from __future__ import annotations

import pickle
from functools import partial

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("sklearn", minversion="1.9")

from scipy.sparse import csr_array
from sklearn import neural_network
from sklearn.base import clone
from sklearn.callback import ScoringMonitor
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tinygrad_mlp import functional as F
from tinygrad_mlp import nn
from tinygrad_mlp.sklearn import MLPClassifier, MLPRegressor


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks([MLPClassifier(), MLPRegressor()])
def test_scikit_learns_checks(estimator, check):
    check(estimator)


DIGITS = load_digits(return_X_y=True)
X, Y = DIGITS[0][:600] / 16, DIGITS[1][:600]
quick = partial(MLPClassifier, (30,), max_iter=15, n_iter_no_change=15, learning_rate_init=0.01, random_state=0)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def regression(rows=300):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(rows, 4))
    return X, np.sin(X[:, 0]) + X[:, 1] * X[:, 2]


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_parameters_and_attributes_are_those_of_scikit_learn(solver, activation):
    options = {"hidden_layer_sizes": (7, 5), "activation": activation, "solver": solver, "max_iter": 12, "alpha": 0.1}
    pairs = [
        (MLPClassifier, neural_network.MLPClassifier, X[:, ::3], Y),
        (MLPRegressor, neural_network.MLPRegressor, *regression()),
    ]
    for ours, theirs, data, target in pairs:
        mine, other = ours(**options).fit(data, target), theirs(**options).fit(data, target)
        assert set(other.get_params()) <= set(mine.get_params())
        assert {k: mine.get_params()[k] for k in other.get_params()} == other.get_params()
        for name in ("n_features_in_", "n_layers_", "n_outputs_", "out_activation_"):
            assert getattr(mine, name) == getattr(other, name), name
        assert [a.shape for a in (*mine.coefs_, *mine.intercepts_)] == [
            a.shape for a in (*other.coefs_, *other.intercepts_)
        ]
        assert mine.loss_ > 0 and mine.n_iter_ > 0
        if solver != "lbfgs":
            assert mine.t_ == other.t_ and len(mine.loss_curve_) == mine.n_iter_ == len(other.loss_curve_)
            assert mine.best_loss_ == min(mine.loss_curve_)
        assert not {name for name in vars(other) if name[0] != "_"} - set(dir(mine))


@pytest.mark.parametrize("labels", ["two", "several", "many at once"])
def test_the_same_weights_give_scikit_learns_loss_gradient_and_probabilities(labels):
    target = {
        "two": Y % 2,
        "several": Y,
        "many at once": np.eye(10, dtype=int)[Y] | np.eye(10, dtype=int)[(Y + 1) % 10],
    }
    y, n = target[labels], len(X)
    options = {"hidden_layer_sizes": (6,), "activation": "tanh", "solver": "sgd", "momentum": 0.0, "shuffle": False,
               "batch_size": n, "max_iter": 1, "alpha": 3.0, "learning_rate_init": 0.1}  # fmt: skip
    theirs = neural_network.MLPClassifier(**options, random_state=0).fit(X, y)
    ours = MLPClassifier(**options, warm_start=True).fit(X, y)
    layers = [layer for layer in ours.model_ if isinstance(layer, nn.Linear)]
    for layer, weight, bias in zip(layers, theirs.coefs_, theirs.intercepts_, strict=True):
        layer.weight.data[...], layer.bias.data[...] = weight.T, bias
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-10)
    assert (ours.predict(X) == theirs.predict(X)).all()
    ours.fit(X, y), theirs.set_params(warm_start=True).fit(X, y)
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=1e-9)  # which has the penalty of the weights
    for mine, other in zip((*ours.coefs_, *ours.intercepts_), (*theirs.coefs_, *theirs.intercepts_), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_a_regressor_with_the_same_weights_takes_scikit_learns_steps(loss):
    data, y = regression()
    y = np.exp(y) if loss == "poisson" else np.stack([y, -2 * y], axis=1)
    options = {"hidden_layer_sizes": (6,), "activation": "tanh", "solver": "sgd", "momentum": 0.0, "shuffle": False,
               "batch_size": 300, "max_iter": 1, "loss": loss, "warm_start": True,
               "learning_rate_init": 0.01}  # fmt: skip
    theirs, ours = neural_network.MLPRegressor(**options).fit(data, y), MLPRegressor(**options).fit(data, y)
    layers = [layer for layer in ours.model_ if isinstance(layer, nn.Linear)]
    for layer, weight, bias in zip(layers, theirs.coefs_, theirs.intercepts_, strict=True):
        layer.weight.data[...], layer.bias.data[...] = weight.T, bias
    np.testing.assert_allclose(ours.predict(data), theirs.predict(data), rtol=1e-10)
    weights = np.random.default_rng(0).random(300)
    ours.fit(data, y, weights), theirs.fit(data, y, weights)
    for mine, other in zip((*ours.coefs_, *ours.intercepts_), (*theirs.coefs_, *theirs.intercepts_), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-12)


def test_what_scikit_learn_does_not_have():
    twice = lambda outputs, y, reduction="mean": 2 * F.cross_entropy(outputs, y, reduction=reduction)
    options = {"activation": ("gelu", "leaky_relu"), "dropout": 0.1, "batch_norm": True, "loss": twice}
    fitted = MLPClassifier(
        (30, 20), max_iter=30, learning_rate_init=0.01, random_state=0, class_weight="balanced", **options
    ).fit(X, Y)
    assert [type(layer).__name__ for layer in fitted.model_] == [
        "Linear", "BatchNorm1d", "GELU", "Dropout", "Linear", "BatchNorm1d", "LeakyReLU", "Dropout", "Linear"
    ]  # fmt: skip
    assert fitted.score(X, Y) > 0.95


def test_weights_of_classes_lift_the_recall_of_a_rare_one():
    y = np.where(Y == 8, "rare", "common")
    rows = np.r_[np.flatnonzero(y == "common"), np.flatnonzero(y == "rare")[:6]]
    recalls = [
        np.mean(quick(class_weight=weight).fit(X[rows], y[rows]).predict(X[y == "rare"]) == "rare")
        for weight in (None, "balanced", {"rare": 100.0})
    ]
    assert recalls[0] < min(recalls[1:]) - 0.2
    by_sample = quick().fit(X[rows], y[rows], np.where(y[rows] == "rare", 100.0, 1.0))
    by_class = quick(class_weight={"rare": 100.0}).fit(X[rows], y[rows])
    assert (by_sample.predict_proba(X) == by_class.predict_proba(X)).all()


def test_it_works_in_pipelines_searches_and_frames():
    frame = pd.DataFrame(X, columns=[f"pixel{i}" for i in range(64)])
    labels = np.array([f"digit {i}" for i in Y])
    pipeline = make_pipeline(StandardScaler(), quick(max_iter=30)).set_output(transform="pandas")
    assert cross_val_score(pipeline, frame, labels, cv=3).mean() > 0.85
    pipeline.fit(frame, labels)
    assert pipeline[-1].feature_names_in_[:2].tolist() == ["pixel0", "pixel1"]
    assert pipeline[-1].classes_[0] == "digit 0" and pipeline.predict(frame[:1])[0].startswith("digit")
    search = GridSearchCV(quick(), {"hidden_layer_sizes": [(2,), (30,)], "activation": ["relu", ("tanh",)]}, cv=2)
    assert search.fit(X, labels).best_params_["hidden_layer_sizes"] == (30,)
    again = pickle.loads(pickle.dumps(search.best_estimator_))
    assert (again.predict_proba(X) == search.best_estimator_.predict_proba(X)).all()
    assert clone(again).get_params() == again.get_params() and not hasattr(clone(again), "model_")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows_give_what_dense_ones_do(solver):
    dense, sparse = quick(solver=solver).fit(X, Y), quick(solver=solver).fit(csr_array(X), Y)
    assert all((a == b).all() for a, b in zip(dense.coefs_, sparse.coefs_, strict=True))
    assert (dense.predict_proba(X) == sparse.predict_proba(csr_array(X))).all()


def test_weights_decay_and_biases_do_not():
    data, y = regression()
    fitted = MLPRegressor((), solver="lbfgs", alpha=1e6, random_state=0).fit(data, y + 5)
    assert np.abs(fitted.coefs_[0]).max() < 1e-3
    np.testing.assert_allclose(fitted.intercepts_[0], np.mean(y) + 5, rtol=1e-3)


def test_early_stopping_keeps_the_best_epoch():
    fitted = MLPClassifier(
        (30,), early_stopping=True, n_iter_no_change=3, max_iter=100, learning_rate_init=0.01, random_state=0
    ).fit(X, Y)
    scores = fitted.validation_scores_
    assert len(scores) == fitted.n_iter_ < 100
    until_then = clone(fitted).set_params(max_iter=int(np.argmax(scores)) + 1).fit(X, Y)
    assert until_then.n_iter_ < fitted.n_iter_
    assert all((a == b).all() for a, b in zip(until_then.coefs_, fitted.coefs_, strict=True))
    assert fitted.best_validation_score_ == max(scores) and fitted.best_loss_ is None
    assert fitted.score(X, Y) > 0.9


def test_partial_fit_goes_on_and_knows_its_classes():
    estimator = quick()
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        estimator.partial_fit(X, Y)
    for start in range(0, 600, 60):
        estimator.partial_fit(X[start : start + 60], Y[start : start + 60], classes=np.arange(10))
    assert estimator.t_ == 600 and len(estimator.loss_curve_) == 10
    for _ in range(20):
        estimator.partial_fit(X, Y)
    assert estimator.score(X, Y) > 0.9
    with pytest.raises(ValueError, match="y has classes .* 10"):
        estimator.partial_fit(X, Y + 1)


def test_a_warm_start_goes_on_from_where_it_was():
    cold, warm = quick(max_iter=1), quick(max_iter=1, warm_start=True)
    losses = [[estimator.fit(X, Y).loss_ for _ in range(4)] for estimator in (cold, warm)]
    assert len(set(losses[0])) == 1 and losses[1] == sorted(losses[1], reverse=True) and losses[1][-1] < losses[1][0]


@pytest.mark.parametrize("rate", ["constant", "invscaling", "adaptive"])
def test_learning_rates_of_sgd(rate):
    options = {"solver": "sgd", "learning_rate": rate, "learning_rate_init": 0.5, "tol": 0.1, "n_iter_no_change": 2}
    fitted = MLPClassifier((30,), max_iter=60, random_state=0, **options).fit(X, Y)
    lr = fitted._optimizer.param_groups[0]["lr"]
    expected = {
        "constant": 0.5,
        "invscaling": 0.5 / (fitted.t_ + 1) ** 0.5,
        "adaptive": 0.5 / 5 ** round(np.log(0.5 / lr) / np.log(5)),
    }
    assert lr == pytest.approx(expected[rate])
    assert (lr < 0.5) == (rate != "constant")


def test_scikit_learns_callbacks_see_each_epoch_and_may_stop():
    class Seen:
        def __init__(self):
            self.scores, self.begun, self.tasks = [], 0, []

        def setup(self, estimator, context):
            self.tasks.append("setup")

        def teardown(self, estimator, context):
            self.tasks.append("teardown")

        def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
            self.begun += 1

        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None, metadata=None):
            self.scores.append(fitted_estimator.score(X, Y))
            return len(self.scores) == 4

    seen = Seen()
    fitted = quick().set_callbacks(seen).fit(X, Y)
    assert fitted.n_iter_ == 4 and seen.begun == 5 and seen.tasks == ["setup", "teardown"]
    assert seen.scores[0] < seen.scores[3] == seen.scores[-1] == fitted.score(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "rleu"}, "unknown activation 'rleu'; did you mean 'relu'"),
        ({"activation": ("relu", "tanh")}, "one per activation"),
        ({"activation": None}, "'activation' parameter of MLPClassifier must be"),
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be integers > 0"),
        ({"hidden_layer_sizes": (7.5,)}, "hidden_layer_sizes must be integers > 0"),
        ({"solver": "adm"}, "'solver' parameter of MLPClassifier must be a str among .*'adam'"),
        ({"loss": "squared_error"}, "'loss' parameter of MLPClassifier must be a str among {'log_loss'} or a callable"),
        ({"learning_rate_init": -1.0}, "'learning_rate_init' parameter of MLPClassifier must be a float in the range"),
        ({"learning_rate": "adaptative", "solver": "sgd"}, "'learning_rate' parameter of MLPClassifier must be a str"),
        ({"batch_size": 0}, "'batch_size' parameter of MLPClassifier must be a str among {'auto'} or an int"),
        ({"max_iter": 0, "solver": "lbfgs"}, "'max_iter' parameter of MLPClassifier must be an int in the range"),
        ({"early_stopping": "no"}, "'early_stopping' parameter of MLPClassifier must be an instance of 'bool'"),
        ({"dropout": 1.5}, "'dropout' parameter of MLPClassifier must be a float in the range"),
        ({"batch_norm": "no"}, "'batch_norm' parameter of MLPClassifier must be an instance of 'bool'"),
    ],
)
def test_parameters_that_do_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        MLPClassifier(**{"hidden_layer_sizes": (5,), **options}).fit(X, Y)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: quick(early_stopping=True).partial_fit(X, Y, classes=np.unique(Y)), "does not support early_stopping"),
        (
            lambda: MLPRegressor((5,), early_stopping=True, validation_fraction=0.01).fit(X[:9], Y[:9]),
            "too small: raise",
        ),
        (
            lambda: MLPRegressor((5,), solver="sgd", max_iter=1, learning_rate_init=1.7e308).fit(1e3 * X[:50], Y[:50]),
            "the weights are not finite; scale the data",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_trainings_that_cannot_work(act, message):
    with pytest.raises(ValueError, match=message), np.errstate(all="ignore"):
        act()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_it_prints_the_loss_of_each_iteration(capsys):
    model = quick(verbose=True, max_iter=2).fit(X, Y)
    assert capsys.readouterr().out == "".join(
        f"Iteration {i}, loss = {loss:.8f}\n" for i, loss in enumerate(model.loss_curve_, 1)
    )


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_early_stopping_of_counts_scores_counts():
    counts = np.random.default_rng(0).poisson(np.exp(X[:, 0]))
    model = MLPRegressor((5,), loss="poisson", early_stopping=True, max_iter=30, random_state=0).fit(X, counts)
    assert (model.predict(X) > 0).all() and model.best_validation_score_ == max(model.validation_scores_)


def test_callbacks_get_the_labels_that_the_user_gave():
    monitor = ScoringMonitor(scoring="accuracy")
    fitted = quick(max_iter=3).set_callbacks(monitor).fit(X, np.where(Y % 2, "odd", "even"))
    scores = [row["accuracy"] for row in monitor.get_logs().data]
    assert scores[-1] == fitted.score(X, np.where(Y % 2, "odd", "even")) > 0.5


@pytest.mark.parametrize("loss", [F.huber_loss, nn.HuberLoss()])
def test_a_loss_of_ones_own_and_weights_under_lbfgs(loss):
    data, y = regression()
    weights = np.random.default_rng(0).integers(0, 3, 300)
    options = {"solver": "lbfgs", "loss": loss, "max_iter": 1000, "max_fun": 10**6, "tol": 1e-10, "alpha": 0.0}
    weighted = MLPRegressor((), **options).fit(data, y + 3 * data[:, 0], weights)
    repeated = MLPRegressor((), **options).fit(data.repeat(weights, 0), (y + 3 * data[:, 0]).repeat(weights))
    np.testing.assert_allclose(weighted.coefs_[0], repeated.coefs_[0], atol=1e-4)
    assert np.isfinite(MLPRegressor((), solver="lbfgs", loss=lambda o, y: np.abs(o - y).mean()).fit(data, y).loss_)


def test_partial_fit_takes_weights_of_classes_that_the_rows_lack():
    rows, weights = Y != 8, {8: 50.0}
    estimator = quick(class_weight=weights).partial_fit(X[rows], Y[rows], classes=np.arange(10))
    plain = quick().partial_fit(X[rows], Y[rows], classes=np.arange(10))
    assert all((a == b).all() for a, b in zip(estimator.coefs_, plain.coefs_, strict=True))
    with pytest.raises(ValueError, match=r"The classes, .* are not in class_weight"):
        quick(class_weight={11: 2.0}).partial_fit(X, Y, classes=np.arange(10))


def test_partial_fit_refuses_other_classes_and_is_not_there_under_lbfgs():
    estimator = quick().partial_fit(X, Y, classes=np.arange(10))
    with pytest.raises(ValueError, match="expected those of the first call"):
        estimator.partial_fit(X, Y, classes=np.arange(11))
    assert not hasattr(quick(solver="lbfgs"), "partial_fit") and hasattr(quick(), "partial_fit")


def test_a_warm_start_may_go_on_with_early_stopping_or_without():
    estimator = quick(max_iter=2, warm_start=True).fit(X, Y).set_params(early_stopping=True).fit(X, Y)
    assert len(estimator.validation_scores_) == 2 and estimator.best_loss_ is None
    estimator.set_params(early_stopping=False).fit(X, Y)
    assert estimator.best_loss_ < np.inf and estimator.validation_scores_ is None and estimator.n_iter_ == 2


@pytest.mark.parametrize("rows", [2, 3, 201, 401])
def test_batch_norm_finds_batches_without_a_single_row(rows):
    assert quick(batch_norm=True, max_iter=1).fit(X[:rows], Y[:rows] > 4).t_ == rows


def test_one_class_has_all_of_the_probability():
    fitted = quick().fit(X, np.full(600, "only"))
    assert (fitted.predict(X) == "only").all() and (fitted.predict_proba(X) == 1).all()


def test_before_fit_it_says_what_to_do():
    for name in ("coefs_", "intercepts_", "out_activation_"):
        with pytest.raises(NotFittedError, match="Call 'fit'"):
            getattr(quick(), name)


def test_it_says_when_it_has_not_converged():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(15\)"):
        quick(tol=-np.inf).fit(X, Y)
