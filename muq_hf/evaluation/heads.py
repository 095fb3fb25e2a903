"""The heads of probes: outputs = fitted(features). Regularisation is chosen on validation by the task's own score."""

import itertools
import math
import warnings
from collections.abc import Callable
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from threadpoolctl import threadpool_limits
from torch import nn

from ..devices import torch_threads
from .labels import IGNORED


INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0)  # scikit-learn's C, on standardised features
RIDGE_PENALTIES = (1.0, 10.0, 100.0, 1000.0, 10_000.0)
WEIGHT_DECAYS = (0.0, 0.1)
LINEAR_ITERATIONS = 200
LINEAR_TOLERANCE = 1e-3  # of the gradient; scikit-learn's 1e-4 takes four times as long for the same scores
LEARNING_RATE = 1e-3
BATCH_ROWS = 64
MIN_STEPS_BETWEEN = 25  # steps between two validations, at least an epoch
MAX_VALIDATIONS = 80
PATIENCE = 6  # validations without a better score
HIDDEN_UNITS = 512
DROPOUT = 0.25
MIN_DEVIATION = 1e-6
ROWS_AT_ONCE = 4096  # of a prediction
ONE_THREAD_VALUES = 10_000_000  # features × rows below which one thread fits a head

Predict = Callable[[np.ndarray], np.ndarray]  # features → outputs [R, K]
Validate = Callable[[np.ndarray], float]  # outputs on the validation rows → score, larger is better


@contextmanager
def _threads_for(rows: np.ndarray):
    """One thread for small tables: starting more takes longer than computing."""
    if rows.size > ONE_THREAD_VALUES:
        yield
        return
    with torch_threads(1), threadpool_limits(1):
        yield


class Scaler:
    """Mean 0 and deviation 1 over the fitted rows, for each feature [.., D]."""

    def __init__(self, rows: np.ndarray):
        self.mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        self.deviation = np.maximum(rows.std(axis=0, dtype=np.float64), MIN_DEVIATION).astype(np.float32)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        return (rows - self.mean) / self.deviation


def fit_linear(
    x: np.ndarray, y: np.ndarray, x_valid: np.ndarray, loss: str, num_outputs: int, validate: Validate, seed: int
) -> Predict:
    """Logistic or ridge regression on one layer; x [R, D], y as the target's `rows`."""
    if loss == "tags" and num_outputs > 1:
        predict = fit_head(x[:, None], y, x_valid[:, None], loss, num_outputs, validate, seed, hidden_units=None)
        return lambda rows: predict(rows[:, None])
    scale = Scaler(x)
    x, x_valid = scale(x), scale(x_valid)
    fit = _ridge_path if loss == "numbers" else _logistic_path
    best_score, best = -np.inf, None
    with _threads_for(x):
        for predict in fit(x, y, num_outputs):
            score = validate(predict(x_valid))
            if score > best_score:
                best_score, best = score, predict
    return lambda rows: best(scale(rows))


def _ridge_path(x, y, num_outputs):
    for penalty in RIDGE_PENALTIES:
        yield Ridge(alpha=penalty).fit(x, y).predict


def _logistic_path(x, y, num_outputs):
    """One fit after the other from the strongest penalty on, each started from the one before."""
    y = y.reshape(-1).astype(int)
    classes = np.unique(y)
    coefficients = None
    for inverse_penalty in INVERSE_PENALTIES:
        model = LogisticRegression(C=inverse_penalty, max_iter=LINEAR_ITERATIONS, tol=LINEAR_TOLERANCE, warm_start=True)
        if coefficients is not None:
            model.coef_, model.intercept_ = (array.copy() for array in coefficients)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early only adds to the penalty
            model.fit(x, y)
        coefficients = model.coef_, model.intercept_
        yield _class_outputs(model, classes, num_outputs)


def _class_outputs(model: LogisticRegression, classes: np.ndarray, num_outputs: int) -> Predict:
    """Log odds in a column for each class of the task; classes that were not fitted never win."""

    def predict(rows: np.ndarray) -> np.ndarray:
        scores = model.decision_function(rows)
        if num_outputs == 1:
            return scores[:, None]
        outputs = np.full((len(rows), num_outputs), -np.inf, dtype=np.float32)
        outputs[:, classes] = np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
        return outputs

    return predict


class WeightedSumHead(nn.Module):
    """[B, L, D] → softmax-weighted sum over layers → linear, or one hidden layer → [B, K]."""

    def __init__(self, num_layers: int, size: int, num_outputs: int, hidden_units: int | None):
        super().__init__()
        self.layer_logits = nn.Parameter(torch.zeros(num_layers))
        if hidden_units is None:
            self.head = nn.Linear(size, num_outputs)
        else:
            self.head = nn.Sequential(
                nn.Dropout(DROPOUT),
                nn.Linear(size, hidden_units),
                nn.ReLU(),
                nn.Dropout(DROPOUT),
                nn.Linear(hidden_units, num_outputs),
            )

    @property
    def layer_weights(self) -> torch.Tensor:
        return self.layer_logits.softmax(dim=0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.einsum("bld,l->bd", x, self.layer_weights))


def fit_head(
    x: np.ndarray,
    y: np.ndarray,
    x_valid: np.ndarray,
    loss: str,
    num_outputs: int,
    validate: Validate,
    seed: int,
    hidden_units: int | None = HIDDEN_UNITS,
) -> Predict:
    """Gradient descent with early stopping for every weight decay; x [R, L, D]. The predictor has `layer_weights` [L]."""
    scale = Scaler(x)
    offset, factor = (y.mean(axis=0), np.maximum(y.std(axis=0), MIN_DEVIATION)) if loss == "numbers" else (0.0, 1.0)
    rows, rows_valid = torch.from_numpy(scale(x)), torch.from_numpy(scale(x_valid))
    targets = torch.from_numpy((y - offset) / factor if loss == "numbers" else y)

    best_score, best_head = -np.inf, None
    for weight_decay in WEIGHT_DECAYS:
        with torch.random.fork_rng(devices=()), _threads_for(x):
            torch.manual_seed(seed)
            head = WeightedSumHead(x.shape[1], x.shape[2], num_outputs, hidden_units)
            score, state = _train(
                head, rows, targets, rows_valid, loss, weight_decay, lambda out: validate(out * factor + offset)
            )
        if score > best_score:
            best_score, best_head = score, head
            best_head.load_state_dict(state)

    def predict(features: np.ndarray) -> np.ndarray:
        return _outputs(best_head, torch.from_numpy(scale(features))) * factor + offset

    predict.layer_weights = best_head.layer_weights.detach().numpy()
    return predict


def _train(head, rows, targets, rows_valid, loss: str, weight_decay: float, validate: Validate) -> tuple[float, dict]:
    optimizer = torch.optim.AdamW(head.parameters(), lr=LEARNING_RATE, weight_decay=weight_decay, fused=True)
    batches = _batches(len(rows))
    steps = max(MIN_STEPS_BETWEEN, math.ceil(len(rows) / BATCH_ROWS))
    best_score, best_state, stale = -np.inf, None, 0
    for _ in range(MAX_VALIDATIONS):
        head.train()
        for index in itertools.islice(batches, steps):
            optimizer.zero_grad()
            _loss(head(rows[index]), targets[index], loss).backward()
            optimizer.step()
        score = validate(_outputs(head, rows_valid))
        if score > best_score:
            best_score, stale = score, 0
            best_state = {name: value.clone() for name, value in head.state_dict().items()}
        else:
            stale += 1
            if stale > PATIENCE:
                break
    return best_score, best_state


def _batches(num_rows: int):
    """Indices of one epoch after the other, without end."""
    while True:
        yield from torch.randperm(num_rows).split(BATCH_ROWS)


def _loss(outputs: torch.Tensor, targets: torch.Tensor, loss: str) -> torch.Tensor:
    if loss == "classes":
        return F.cross_entropy(outputs, targets, ignore_index=IGNORED)
    if loss == "tags":
        return F.binary_cross_entropy_with_logits(outputs, targets)
    return F.mse_loss(outputs, targets)


@torch.inference_mode()
def _outputs(head: nn.Module, rows: torch.Tensor) -> np.ndarray:
    head.eval()
    return torch.cat([head(part) for part in rows.split(ROWS_AT_ONCE)]).numpy()
