"""Twenty random forests on California housing: one after another, then as Narke tasks.

Run it with ``.venv/bin/python examples/housing.py``, or ``./dev quickstart``, which builds Narke first.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import pandas as pd
from sklearn.ensemble import RandomForestRegressor
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import train_test_split

import narke as ray

DATA = Path(__file__).parent / "data" / "california_housing.csv"
SEED = 201
BAR_WIDTH = 30
LINES_EVERY = 5
TASK_TIMEOUT_S = 600


def load_housing() -> tuple[pd.DataFrame, pd.Series]:
    """Return the features (20,640 rows, 8 columns) and the median house values in 100,000 dollars."""
    raw = pd.read_csv(DATA)
    bedrooms = raw["total_bedrooms"].fillna(raw["total_bedrooms"].median())
    features = pd.DataFrame(
        {
            "MedInc": raw["median_income"],
            "HouseAge": raw["housing_median_age"],
            "AveRooms": raw["total_rooms"] / raw["households"],
            "AveBedrms": bedrooms / raw["households"],
            "Population": raw["population"],
            "AveOccup": raw["population"] / raw["households"],
            "Latitude": raw["latitude"],
            "Longitude": raw["longitude"],
        }
    )
    return features, raw["median_house_value"] / 1e5


def train_and_score(
    x_train: pd.DataFrame, x_test: pd.DataFrame, y_train: pd.Series, y_test: pd.Series, n_estimators: int
) -> float:
    """Train one forest and return its mean squared error on the test rows."""
    model = RandomForestRegressor(n_estimators=n_estimators, random_state=SEED)
    model.fit(x_train, y_train)
    return float(mean_squared_error(y_test, model.predict(x_test)))


def show_progress(label: str, done: int, total: int) -> None:
    """Redraw the bar on a terminal; elsewhere print a line for every fifth model."""
    if sys.stdout.isatty():
        filled = BAR_WIDTH * done // total
        end = "\n" if done == total else ""
        print(f"\r{label:<20} [{'#' * filled:<{BAR_WIDTH}}] {done}/{total}", end=end, flush=True)
    elif done == total or done and done % LINES_EVERY == 0:
        print(f"{label}: {done}/{total}", flush=True)


def run_sequential(frames: list, sizes: list[int]) -> list[float]:
    """Train the forests in this process, one after another."""
    label = "one after another"
    scores: list[float] = []
    show_progress(label, 0, len(sizes))
    for n_estimators in sizes:
        scores.append(train_and_score(*frames, n_estimators))
        show_progress(label, len(scores), len(sizes))
    return scores


def run_tasks(frames: list, sizes: list[int]) -> list[float]:
    """Train the forests as tasks; the four frames go to the object store once and are shared by all."""
    label = "as tasks"
    task = ray.remote(train_and_score)
    frame_refs = [ray.put(frame) for frame in frames]
    refs = [task.remote(*frame_refs, n_estimators) for n_estimators in sizes]
    pending = refs
    show_progress(label, 0, len(refs))
    while pending:
        ready, pending = ray.wait(pending, timeout=TASK_TIMEOUT_S)
        if not ready:
            raise TimeoutError(f"no forest finished within {TASK_TIMEOUT_S} s; {len(pending)} are pending")
        show_progress(label, len(refs) - len(pending), len(refs))
    return ray.get(refs)


def print_report(sizes: list[int], sequential: list[float], tasks: list[float], times_s: list[float]) -> None:
    """Print the scores, the best model and both times."""
    print(f"\n{'n_estimators':>12} {'mse sequential':>15} {'mse tasks':>10}")
    for size, one, other in zip(sizes, sequential, tasks, strict=True):
        print(f"{size:>12} {one:>15.4f} {other:>10.4f}")
    best = min(range(len(sizes)), key=tasks.__getitem__)
    print(f"\nbest model: n_estimators={sizes[best]}, mse={tasks[best]:.4f}")
    print(
        f"one after another {times_s[0]:.2f} s, as tasks {times_s[1]:.2f} s: {times_s[0] / times_s[1]:.2f}x"
    )


def main() -> int:
    """Run both ways and compare. Returns 1 if the scores differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=20, help="how many forests to train (20)")
    sizes = [8 + 4 * j for j in range(max(1, parser.parse_args().models))]

    features, values = load_housing()
    frames = train_test_split(features, values, test_size=0.2, random_state=SEED)

    times_s = []
    started = time.perf_counter()
    sequential = run_sequential(frames, sizes)
    times_s.append(time.perf_counter() - started)

    ray.init()
    started = time.perf_counter()
    tasks = run_tasks(frames, sizes)
    times_s.append(time.perf_counter() - started)
    ray.shutdown()

    print_report(sizes, sequential, tasks, times_s)
    if tasks != sequential:
        print("the scores of the tasks differ from the sequential ones, and must not", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
