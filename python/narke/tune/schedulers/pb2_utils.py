"""The Gaussian process of PB2: its kernel over time and configuration, and the search for its best point.

After Parker-Holder et al., "Provably Efficient Online Hyperparameter Optimization with Population-Based Bandits"
(2020).
Needs scikit-learn and scipy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import Hyperparameter, Kernel
from sklearn.metrics import pairwise_distances

__all__ = ["TV_SquaredExp", "UCB", "normalize", "optimize_acq", "select_length", "standardize"]


class TV_SquaredExp(Kernel):
    """A squared exponential kernel that forgets:
    ``variance * exp(-d(x, x')^2 / (2 l^2)) * (1 - epsilon)^(|t - t'| / 2)``.

    The first column of the data is the time t, the others are x.

    Args:
        variance: at distance 0.
        lengthscale: l.
        epsilon: how much is forgotten in one unit of time.
        variance_bounds, lengthscale_bounds, epsilon_bounds: for fitting them.
    """

    def __init__(
        self,
        variance: float = 1.0,
        lengthscale: float = 1.0,
        epsilon: float = 0.1,
        variance_bounds: tuple = (1e-5, 1e5),
        lengthscale_bounds: tuple = (1e-5, 1e5),
        epsilon_bounds: tuple = (1e-5, 0.5),
    ) -> None:
        self.variance = variance
        self.lengthscale = lengthscale
        self.epsilon = epsilon
        self.variance_bounds = variance_bounds
        self.lengthscale_bounds = lengthscale_bounds
        self.epsilon_bounds = epsilon_bounds

    @property
    def hyperparameter_variance(self) -> Hyperparameter:
        """For scikit-learn."""
        return Hyperparameter("variance", "numeric", self.variance_bounds)

    @property
    def hyperparameter_lengthscale(self) -> Hyperparameter:
        """For scikit-learn."""
        return Hyperparameter("lengthscale", "numeric", self.lengthscale_bounds)

    @property
    def hyperparameter_epsilon(self) -> Hyperparameter:
        """For scikit-learn."""
        return Hyperparameter("epsilon", "numeric", self.epsilon_bounds)

    def __call__(self, X: Any, Y: Any = None, eval_gradient: bool = False) -> Any:
        """The kernel matrix, with the gradient by the logarithms of the parameters if asked for."""
        X = np.atleast_2d(X)
        Y = X if Y is None else np.atleast_2d(Y)
        eps = float(np.clip(self.epsilon, 1e-5, 0.5))
        squared = (
            pairwise_distances(X[:, 1:], Y[:, 1:], "sqeuclidean")
            if X.shape[1] > 1
            else np.zeros((len(X), len(Y)))
        )
        apart = np.abs(X[:, :1] - Y[:, :1].T)
        kernel = self.variance * np.exp(-squared / (2 * self.lengthscale**2)) * (1 - eps) ** (0.5 * apart)
        if not eval_gradient:
            return kernel
        by_epsilon = kernel * (-0.5 * apart / (1 - eps)) * eps
        by_length = kernel * squared / self.lengthscale**2
        # In the order of the names, as scikit-learn has them.
        return kernel, np.dstack([by_epsilon, by_length, kernel])

    def K(self, X: Any, X2: Any) -> Any:
        """The kernel matrix, under its name of older programs."""
        return self(X, X2)

    def Kdiag(self, X: Any) -> Any:
        """`diag`, under its name of older programs."""
        return self.diag(X)

    def diag(self, X: Any) -> Any:
        """The kernel of each point with itself."""
        return np.full(np.atleast_2d(X).shape[0], float(self.variance))

    def is_stationary(self) -> bool:
        """False."""
        return False


def normalize(data: Any, wrt: Any) -> Any:
    """Data scaled so that `wrt` would lie between 0 and 1 in each column."""
    low, high = np.min(wrt, axis=0), np.max(wrt, axis=0)
    return (data - low) / (high - low + 1e-8)


def standardize(data: Any) -> Any:
    """Data with mean 0 and deviation 1, cut off at 2 deviations."""
    return np.clip((data - np.mean(data, axis=0)) / (np.std(data, axis=0) + 1e-8), -2, 2)


def UCB(m: Any, m1: Any, x: Any, fixed: Any, kappa: float | None = None) -> float:
    """The upper confidence bound of a point.

    Args:
        m: the process that tells the mean.
        m1: the process that tells the deviation: it knows of the points under way, too.
        x: the point's free coordinates.
        fixed: its fixed ones.
        kappa: weight of the deviation; grows with the data if None.
    """
    beta = kappa
    if beta is None:
        points = len(m.X_train_)
        beta = float(np.sqrt(max(0.2 + np.log(0.4 * max(points, 3)), 0.1)))
    point = np.concatenate([np.ravel(fixed), np.ravel(x)]).reshape(1, -1)
    mean = m.predict(point)
    _, deviation = m1.predict(point, return_std=True)
    return float(np.ravel(mean)[0] + beta * np.ravel(deviation)[0])


def optimize_acq(func: Any, m: Any, m1: Any, fixed: Any, num_f: int) -> Any:
    """The free coordinates, between 0 and 1, with the greatest value of an acquisition function.

    Args:
        func: such as `UCB`.
        m, m1, fixed: its arguments.
        num_f: how many coordinates are fixed.
    """
    free = m.X_train_.shape[1] - num_f
    best, where = -np.inf, np.random.uniform(size=free)
    for _ in range(10):
        found = minimize(
            lambda x: -func(m, m1, x, fixed),
            np.random.uniform(size=free),
            bounds=[(0.0, 1.0)] * free,
            method="L-BFGS-B",
            options={"maxiter": 100},
        )
        if -found.fun > best:
            best, where = -found.fun, found.x
    return np.clip(where, 0, 1)


def select_length(Xraw: Any, yraw: Any, bounds: Any, num_f: int) -> int:
    """How many of the latest points make the most likely process; all if there are few."""
    total = len(Xraw)
    if total < 20:
        return total
    scores = {}
    for length in [*range(20, total, 20), total]:
        X, y = Xraw[-length:], yraw[-length:]
        base = np.column_stack([X[:, :num_f].min(axis=0), X[:, :num_f].max(axis=0)])
        X = normalize(X, np.concatenate([base, bounds]).T)
        y = standardize(y).reshape(-1, 1)
        process = GaussianProcessRegressor(kernel=TV_SquaredExp(), optimizer="fmin_l_bfgs_b", alpha=1e-6)
        process.fit(X, y)
        scores[length] = process.log_marginal_likelihood_value_ / length
    return max(scores, key=lambda length: scores[length])
