"""Estimators for scikit-learn, 1.9 or later (extra ``sklearn``): `MLPClassifier` and `MLPRegressor`.

Parameters and attributes are those of `sklearn.neural_network`, with the same defaults. What it does not have: dropout,
batch normalisation, an activation for each layer, losses of one's own, weights of classes, callbacks. Everything
trains by `tinygrad_mlp.fit`, compiled; ``model_`` is the network, a `tinygrad_mlp.nn.Module`.

>>> from sklearn.datasets import load_iris
>>> from sklearn.model_selection import cross_val_score
>>> from sklearn.pipeline import make_pipeline
>>> from sklearn.preprocessing import StandardScaler
>>> X, y = load_iris(return_X_y=True)
>>> pipeline = make_pipeline(StandardScaler(), MLPClassifier((20,), tol=0.01, learning_rate_init=0.01, random_state=0))
>>> bool(cross_val_score(pipeline, X, y).mean() > 0.9)
True
"""

from __future__ import annotations

import copy
import warnings
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from .errors import need

__all__ = ["MLPClassifier", "MLPRegressor"]
__dir__ = __all__.copy  # what Tab offers

need("sklearn", "sklearn")  # which says what to do if it is not there
from scipy.optimize import minimize
from scipy.sparse import issparse
from sklearn import neural_network
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.callback import CallbackSupportMixin, with_callbacks
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, r2_score
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

import tinygrad_mlp as tg

from . import nn
from .nn import functional as F
from .train.weights import weighted

ACTIVATIONS: dict[str, Any] = {
    "identity": None, "logistic": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU, "softplus": nn.Softplus,
}  # fmt: skip


def _summed(losses_of: Any) -> Any:
    """Return a loss that is the sum over the outputs of a row, and its mean over the rows."""

    def loss(outputs: Any, y: Any, reduction: str = "mean") -> Any:
        losses = losses_of(outputs, y)
        rows = losses.sum(axis=1) if losses.ndim > 1 else losses
        return rows.mean() if reduction == "mean" else rows

    return loss


def _log_losses(outputs: Any, y: Any) -> Any:
    entropy = F.cross_entropy if y.ndim == 1 else F.binary_cross_entropy_with_logits
    return entropy(outputs, y, reduction="none")


LOSSES: Any = {
    "log_loss": _summed(_log_losses),
    "squared_error": _summed(lambda outputs, y: 0.5 * F.mse_loss(outputs, y, reduction="none")),
    "absolute_error": _summed(partial(F.l1_loss, reduction="none")),
    "poisson": _summed(lambda outputs, y: np.exp(outputs) - y * outputs),
}


CONSTRAINTS: dict[str, Any] = {  # of the parameters, as scikit-learn's own check them
    **neural_network.MLPClassifier._parameter_constraints,
    "hidden_layer_sizes": "no_validation",  # these two are looked at together
    "activation": [str, "array-like"],
    "tol": [Real],  # with a negative one, any loss is an improvement
    "dropout": [Interval(Real, 0, 1, closed="both")],
    "batch_norm": ["boolean"],
    "class_weight": [dict, list, StrOptions({"balanced"}), None],
}


class _Rows:
    """A sparse matrix of which only the rows that are asked for become dense."""

    def __init__(self, X: Any) -> None:
        self.X, self.shape, self.ndim, self.iloc = X.tocsr(), X.shape, 2, self
        self.size = X.shape[0] * X.shape[1]

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, where: Any) -> Any:
        return self.X[where].toarray()


def _rows(X: Any) -> Any:
    return _Rows(X) if issparse(X) else X


class _Iterations(tg.callbacks.Callback):
    """What an estimator does at the end of each epoch."""

    def __init__(self, estimator: Any, rows: int, held: Any, context: Any, data: dict[str, Any]) -> None:
        self.estimator, self.rows, self.held, self.context, self.data = estimator, rows, held, context, data
        self.idle, self.best = 0, None

    def on_epoch_begin(self, run: Any) -> None:
        pairs = [(p.data, group["weight_decay"]) for group in run.optimizer.param_groups for p in group["params"]]
        self.penalty = sum(decay / 2 * float(np.vdot(a, a)) for a, decay in pairs)
        self.task = self.context.subcontext(task_name="epoch")
        self.task.call_on_fit_task_begin(estimator=self.estimator, **self.data)

    def on_epoch_end(self, run: Any) -> None:
        own = self.estimator
        own.n_iter_, own.loss_ = run.epoch, run.row["loss"] + self.penalty
        own.t_ += self.rows
        own.loss_curve_.append(own.loss_)
        if own.verbose:
            print(f"Iteration {own.n_iter_}, loss = {own.loss_:.8f}")
        self._stop_or_slow_down(run)
        now = lambda: {"model_": copy.deepcopy(own.model_)}
        if self.task.call_on_fit_task_end(estimator=own, **self.data, reconstruction_attributes=now):
            run.stop("a callback has asked for it")

    def _stop_or_slow_down(self, run: Any) -> None:
        own, (group, *_) = self.estimator, run.optimizer.param_groups
        lr = group["lr"]
        if own.solver == "sgd" and own.learning_rate == "invscaling":
            lr = own.learning_rate_init / (own.t_ + 1) ** own.power_t
        self.idle = 0 if self._improves() else self.idle + 1
        if self.idle > own.n_iter_no_change:
            if own.solver == "sgd" and own.learning_rate == "adaptive" and lr > 1e-6:
                lr, self.idle = lr / 5, 0
            else:
                run.stop("no improvement")
        for group in run.optimizer.param_groups:
            group["lr"] = lr

    def _improves(self) -> bool:
        """Return whether the loss, or the validation score, is better by ``tol`` than the best so far."""
        own = self.estimator
        if self.held is None:
            best, own.best_loss_ = own.best_loss_, min(own.best_loss_, own.loss_)
            return bool(own.loss_ <= best - own.tol)
        X, y, weights = self.held
        score, best = own._score_of(own._logits(X), y, weights), own.best_validation_score_
        own.validation_scores_.append(score)
        if score > best:
            own.best_validation_score_, self.best = score, own.model_.state_dict()
        return bool(score >= best + own.tol)

    def on_train_end(self, run: Any) -> None:
        if self.best is not None:
            self.estimator.model_.load_state_dict(self.best)


class _MLP(CallbackSupportMixin, BaseEstimator):
    """What both estimators share."""

    def _fit(self, X: Any, y: Any, sample_weight: Any, incremental: bool = False, classes: Any = None) -> Any:
        self._validate_params()
        first = not hasattr(self, "model_") or not (self.warm_start or incremental)
        X, y = validate_data(
            self, X, y, accept_sparse="csr", multi_output=True, dtype=(np.float64, np.float32), reset=first
        )
        given, y = y, self._encoded(y, first, classes)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        sample_weight = self._weights(y, sample_weight)
        rng = check_random_state(self.random_state)
        if first:
            self._begin(X, y, rng)
        if first or self.early_stopping != (self.best_loss_ is None):
            self._begin_to_judge()
        context = self._init_callback_context(max_subtasks=None)
        data = {"X": X, "y": given, "metadata": {"sample_weight": sample_weight}}
        context.call_on_fit_task_begin(estimator=self, **data)
        if self.solver == "lbfgs":
            self._minimize(X, y, sample_weight)
        else:
            self._train(X, y, sample_weight, rng, incremental, context, data)
        if not all(np.isfinite(a).all() for a in (*self.coefs_, *self.intercepts_)):
            raise ValueError("the weights are not finite; scale the data, or lower learning_rate_init")
        context.call_on_fit_task_end(estimator=self, **data, reconstruction_attributes={})
        return self

    def _begin(self, X: Any, y: Any, rng: Any) -> None:
        """Make the network, and forget what an earlier one has done."""
        hidden = np.atleast_1d(self.hidden_layer_sizes).tolist()
        names = [self.activation] * len(hidden) if isinstance(self.activation, str) else list(self.activation)
        if len(names) != len(hidden) or not all(type(size) is int and size > 0 for size in hidden):
            raise ValueError(f"hidden_layer_sizes must be integers > 0, one per activation, got {hidden} and {names}")
        for name in set(names) - set(ACTIVATIONS):
            raise ValueError(f"unknown activation {name!r}; {tg.errors.nearest(name, ACTIVATIONS)}")
        self.n_outputs_ = len(self.classes_) if y.ndim == 1 else y.shape[1]
        sizes = [X.shape[1], *hidden, self.n_outputs_]
        self.n_layers_, self.n_iter_, self.t_ = len(sizes), 0, 0
        self._optimizer: Any = None
        self.loss_curve_: list[float] = []
        seeds = np.random.default_rng(rng.randint(2**31))
        layers: list[nn.Module] = []
        for fan_in, fan_out, name in zip(sizes, sizes[1:], [*names, ""], strict=False):
            linear: Any = nn.Linear(fan_in, fan_out, rng=seeds, dtype=X.dtype)
            gain = 1 / np.sqrt(3) if name == "logistic" else 1.0  # as in scikit-learn
            nn.init.xavier_uniform_(linear.weight, gain=gain, rng=seeds)
            bound = gain * np.sqrt(6 / (fan_in + fan_out))
            nn.init.uniform_(linear.bias, -bound, bound, rng=seeds)
            layers.append(linear)
            if name:  # all but the last
                layers += [nn.BatchNorm1d(fan_out, dtype=X.dtype)] * bool(self.batch_norm)
                layers += [ACTIVATIONS[name]()] if ACTIVATIONS[name] else []
                layers += [nn.Dropout(self.dropout, rng=seeds)] * bool(self.dropout)
        self.model_ = nn.Sequential(*layers)

    def _begin_to_judge(self) -> None:
        """Forget which epoch was the best."""
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_: list[float] | None = [] if self.early_stopping else None
        self.best_validation_score_ = -np.inf if self.early_stopping else None

    def _train(
        self, X: Any, y: Any, weights: Any, rng: Any, incremental: bool, context: Any, data: dict[str, Any]
    ) -> None:
        """Train by `fit` until nothing improves."""
        held = None
        if self.early_stopping:
            if incremental:
                raise ValueError("partial_fit does not support early_stopping=True")
            X, y, weights, held = self._split(X, y, weights, rng)
        size = min(200 if self.batch_size == "auto" else self.batch_size, X.shape[0])
        while self.batch_size == "auto" and self.batch_norm and size > 1 and X.shape[0] % size == 1:
            size -= 1  # batch norm takes no single row
        if self._optimizer is None or not incremental:
            self._optimizer = self._make_optimizer(size * (1.0 if weights is None else weights.mean()))
        listener = _Iterations(self, X.shape[0], held, context, data)
        history = tg.fit(
            self.model_, _rows(X), y, sample_weight=weights, loss=LOSSES.get(self.loss, self.loss), metrics=[],
            optimizer=self._optimizer, epochs=1 if incremental else self.max_iter, batch_size=size,
            transform=lambda X: X,  # numbers that look like pixels may be none
            seed=rng.randint(2**31), shuffle=self.shuffle, callbacks=[listener], jit=not incremental, progress=False,
        )  # fmt: skip
        if history.stopped is None and not incremental:
            text = f"Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet."
            warnings.warn(text, ConvergenceWarning, stacklevel=5)

    def _split(self, X: Any, y: Any, weights: Any, rng: Any) -> tuple[Any, ...]:
        """Return the rows to train on, and those that say when to stop."""
        stratify = y if isinstance(self, ClassifierMixin) and (y.ndim == 1 or y.shape[1] == 1) else None
        options = {"random_state": rng, "test_size": self.validation_fraction, "stratify": stratify}
        train, held = train_test_split(np.arange(len(y)), **options)
        if len(held) < 2:
            raise ValueError("the validation set is too small: raise validation_fraction, or take more rows")
        part = (X[held], y[held], None if weights is None else weights[held])
        return X[train], y[train], None if weights is None else weights[train], part

    def _make_optimizer(self, rows: float) -> tg.optim.Optimizer:
        """Return the optimizer, whose weight decay is that of weights alone and of the mean over so many rows."""
        weights = [layer.weight for layer in self._linear_layers()]
        others = [p for p in self.model_.parameters() if all(p is not w for w in weights)]
        groups = [{"params": weights, "weight_decay": self.alpha / rows}, {"params": others, "weight_decay": 0.0}]
        if self.solver == "adam":
            return tg.optim.Adam(groups, self.learning_rate_init, (self.beta_1, self.beta_2), self.epsilon)
        nesterov = self.nesterovs_momentum and self.momentum > 0
        return tg.optim.SGD(groups, self.learning_rate_init, self.momentum, nesterov=nesterov)

    def _minimize(self, X: Any, y: Any, weights: Any) -> None:
        """Train on all rows at once by L-BFGS, SciPy's."""
        loss_of, total = LOSSES.get(self.loss, self.loss), len(y) if weights is None else weights.sum()
        if weights is not None:
            loss_of = partial(weighted(loss_of), weights=(weights / weights.mean()).astype(X.dtype))
        params, dense = list(self.model_.parameters()), X.toarray() if issparse(X) else X
        decay, ends = [self.alpha / total * (p.ndim == 2) for p in params], np.cumsum([p.size for p in params])

        def loss_and_gradient(flat: Any) -> tuple[float, Any]:
            for p, values in zip(params, np.split(flat, ends[:-1]), strict=True):
                p.data[...] = values.reshape(p.shape)
            self.model_.zero_grad()
            loss = loss_of(self.model_(tg.Tensor(dense)), y)
            loss.backward()
            penalty = sum(d / 2 * np.vdot(p.data, p.data) for d, p in zip(decay, params, strict=True))
            gradients = [np.asarray(p.grad) + d * p.data for d, p in zip(decay, params, strict=True)]
            return loss.item() + penalty, np.concatenate([g.ravel() for g in gradients]).astype(float)

        start = np.concatenate([p.data.ravel() for p in params]).astype(float)
        options = {"maxiter": self.max_iter, "maxfun": self.max_fun, "gtol": self.tol}
        result = minimize(loss_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
        self.loss_ = loss_and_gradient(result.x)[0]
        self.n_iter_ = min(result.nit, self.max_iter)
        if result.status:
            warnings.warn(f"lbfgs failed to converge: {result.message}", ConvergenceWarning, stacklevel=5)

    def _weights(self, y: Any, sample_weight: Any) -> Any:
        return sample_weight

    def _outputs(self, X: Any) -> Any:
        check_is_fitted(self)
        return self._logits(validate_data(self, X, accept_sparse="csr", dtype=(np.float64, np.float32), reset=False))

    def _logits(self, X: Any) -> Any:
        return tg.predict(self.model_, _rows(X), transform=lambda X: X)

    @property
    def coefs_(self) -> list[Any]:
        """The weights of each layer, of shape (inputs, outputs)."""
        return [layer.weight.detach().numpy().T for layer in self._linear_layers()]

    @property
    def intercepts_(self) -> list[Any]:
        """The biases of each layer."""
        return [layer.bias.detach().numpy() for layer in self._linear_layers()]

    def _linear_layers(self) -> list[Any]:
        check_is_fitted(self)
        return [layer for layer in self.model_.modules() if isinstance(layer, nn.Linear)]

    @with_callbacks
    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Train on the rows of X, dense or sparse, and return the estimator."""
        return self._fit(X, y, sample_weight)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class MLPClassifier(ClassifierMixin, _MLP):
    """A multi-layer perceptron that tells classes apart.

    It has scikit-learn's attributes: ``classes_``, ``coefs_``, ``intercepts_``, ``loss_``, ``loss_curve_``,
    ``best_loss_``, ``validation_scores_``, ``best_validation_score_``, ``n_iter_``, ``t_``, ``n_features_in_``,
    ``feature_names_in_``, ``n_layers_``, ``n_outputs_`` and ``out_activation_``.

    Args:
        hidden_layer_sizes, alpha, batch_size, max_iter, shuffle, random_state, tol, verbose, warm_start: as in
            scikit-learn.
        solver, learning_rate, learning_rate_init, power_t, momentum, nesterovs_momentum, max_fun: as in scikit-learn.
        beta_1, beta_2, epsilon, early_stopping, validation_fraction, n_iter_no_change: as in scikit-learn.
        activation: "relu", "tanh", "logistic", "identity", "leaky_relu", "gelu" or "softplus", or one for each layer.
        loss: "log_loss", or a function of (outputs, y, reduction="mean") made of Tensor ops: y are numbers of classes
            for several, a column or rows of 0 and 1 for two classes and for several labels at once.
        dropout: the probability of a `nn.Dropout` after each activation.
        batch_norm: whether a `nn.BatchNorm1d` comes before each activation.
        class_weight: a dict, or "balanced".

    Attributes:
        model_: the network, whose outputs are logits.
    """

    _parameter_constraints = CONSTRAINTS | {"loss": [StrOptions({"log_loss"}), callable]}

    def __init__(
        self, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *, loss: Any = "log_loss",
        solver: str = "adam", alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: Any = None, tol: float = 1e-4, verbose: bool = False, warm_start: bool = False,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: int = 10, max_fun: int = 15000, dropout: float = 0.0, batch_norm: bool = False,
        class_weight: Any = None,
    ) -> None:  # fmt: skip
        self.__dict__.update({name: value for name, value in locals().items() if name in self._get_param_names()})

    def _encoded(self, y: Any, first: bool, classes: Any) -> Any:
        """Return numbers of classes for several, a column for two, rows of 0 and 1 for several labels."""
        check_classification_targets(y)
        several = type_of_target(y) == "multilabel-indicator"
        y = y if several else column_or_1d(y, warn=True)
        found = np.arange(y.shape[1]) if several else np.unique(y)
        if first:
            self.classes_, self._several = found if classes is None else unique_labels(classes), several
        if classes is not None and not np.array_equal(self.classes_, unique_labels(classes)):
            raise ValueError(f"classes are {classes}, expected those of the first call, {self.classes_}")
        if np.setdiff1d(found, self.classes_).size or self._several != several:
            raise ValueError(f"y has classes {found}, expected those of the first call, {self.classes_}")
        if several:
            return y.astype(float)
        numbers = np.searchsorted(self.classes_, y)
        return numbers if len(self.classes_) > 2 else numbers[:, None].astype(float)

    def _weights(self, y: Any, sample_weight: Any) -> Any:
        if self.class_weight is None:
            return sample_weight
        labels, of_classes = y if self._several else self.classes_[y.astype(int).ravel()], self.class_weight
        if isinstance(of_classes, dict) and not self._several and not set(of_classes) - set(self.classes_.tolist()):
            of_classes = {label: of_classes.get(label, 1.0) for label in np.unique(labels).tolist()}
        weights = compute_sample_weight(of_classes, labels)
        return weights if sample_weight is None else weights * sample_weight

    @property
    def out_activation_(self) -> str:
        """What makes probabilities of the outputs."""
        check_is_fitted(self)
        return "logistic" if self._several or self.n_outputs_ == 1 else "softmax"

    def _chosen(self, outputs: Any) -> Any:
        """Return the encoded classes that outputs stand for."""
        return outputs.argmax(axis=1) if self.out_activation_ == "softmax" else (outputs > 0).astype(int)

    def _score_of(self, outputs: Any, y: Any, weights: Any) -> float:
        return float(accuracy_score(y, self._chosen(outputs), sample_weight=weights))

    def predict(self, X: Any) -> Any:
        """Return the class of each row."""
        chosen = self._chosen(self._outputs(X))
        return chosen if self._several else self.classes_[np.minimum(chosen.ravel(), len(self.classes_) - 1)]

    def predict_proba(self, X: Any) -> Any:
        """Return the probability of each class, in the order of ``classes_``."""
        outputs = self._outputs(X)
        if self.out_activation_ == "softmax":
            return F.softmax(outputs, 1)
        shares = F.sigmoid(outputs) if len(self.classes_) > 1 else np.ones_like(outputs)
        return np.hstack([1 - shares, shares]) if len(self.classes_) == 2 and not self._several else shares

    def predict_log_proba(self, X: Any) -> Any:
        """Return the logarithms of the probabilities."""
        return np.log(self.predict_proba(X))

    @available_if(lambda self: self.solver != "lbfgs")
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """Go once through the rows of ``X`` and ``y``, of which ``sample_weight`` says how much each counts.

        ``classes`` at the first call are all that there will be. With ``class_weight="balanced"``, they are
        counted in the rows of each call.
        """
        if classes is None and not hasattr(self, "model_"):
            raise ValueError("classes must be passed on the first call to partial_fit.")
        return self._fit(X, y, sample_weight, True, classes)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


class MLPRegressor(RegressorMixin, _MLP):
    """A multi-layer perceptron that predicts numbers, one or several for each row.

    Args:
        loss: "squared_error" (half of it), "absolute_error" or "poisson", or a function of (outputs, y,
            reduction="mean") made of Tensor ops, where y has shape (rows, outputs).
        hidden_layer_sizes, activation, alpha, batch_size, max_iter, shuffle, random_state, tol: as in `MLPClassifier`.
        solver, learning_rate, learning_rate_init, power_t, momentum, nesterovs_momentum, max_fun: as there.
        beta_1, beta_2, epsilon, early_stopping, validation_fraction, n_iter_no_change: as there.
        dropout, batch_norm, verbose, warm_start: as there.

    The attributes are those of `MLPClassifier`, but for ``classes_``.
    """

    _parameter_constraints = CONSTRAINTS | {"loss": [StrOptions({*LOSSES} - {"log_loss"}), callable]}

    def __init__(
        self, hidden_layer_sizes: Any = (100,), activation: Any = "relu", *, loss: Any = "squared_error",
        solver: str = "adam", alpha: float = 0.0001, batch_size: Any = "auto", learning_rate: str = "constant",
        learning_rate_init: float = 0.001, power_t: float = 0.5, max_iter: int = 200, shuffle: bool = True,
        random_state: Any = None, tol: float = 1e-4, verbose: bool = False, warm_start: bool = False,
        momentum: float = 0.9, nesterovs_momentum: bool = True, early_stopping: bool = False,
        validation_fraction: float = 0.1, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8,
        n_iter_no_change: int = 10, max_fun: int = 15000, dropout: float = 0.0, batch_norm: bool = False,
    ) -> None:  # fmt: skip
        self.__dict__.update({name: value for name, value in locals().items() if name in self._get_param_names()})

    def _encoded(self, y: Any, first: bool, classes: Any) -> Any:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return y.astype(float).reshape(len(y), -1)

    @property
    def out_activation_(self) -> str:
        """What makes predictions of the outputs."""
        return "exp" if self.loss == "poisson" else "identity"

    def _chosen(self, outputs: Any) -> Any:
        return np.exp(outputs) if self.loss == "poisson" else outputs

    def _score_of(self, outputs: Any, y: Any, weights: Any) -> float:
        return float(r2_score(y, self._chosen(outputs), sample_weight=weights))

    def predict(self, X: Any) -> Any:
        """Return the prediction for each row."""
        values = self._chosen(self._outputs(X))
        return values[:, 0] if self.n_outputs_ == 1 else values

    @available_if(lambda self: self.solver != "lbfgs")
    @with_callbacks
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Go once through the rows of ``X`` and ``y``, of which ``sample_weight`` says how much each counts."""
        return self._fit(X, y, sample_weight, True)
