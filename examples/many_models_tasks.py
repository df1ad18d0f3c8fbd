"""Many small models, one for each group of a table: a task for each group.

narke run examples/many_models_tasks.py
"""

import time

import numpy as np
import pandas as pd
import ray

GROUPS, ROWS = 500, 40


def table() -> pd.DataFrame:
    """Sales of many stores: each follows a line of its own, with noise."""
    rng = np.random.default_rng(0)
    store = np.repeat(np.arange(GROUPS), ROWS)
    price = rng.uniform(1, 5, len(store))
    slope = rng.uniform(-3, -1, GROUPS)
    return pd.DataFrame(
        {"store": store, "price": price, "sold": 50 + slope[store] * price + rng.normal(0, 0.1, len(store))}
    )


@ray.remote
def fit(group: pd.DataFrame) -> tuple[int, float, float]:
    """A line through one store's sales: (store, slope, where it begins)."""
    slope, start = np.polyfit(group["price"], group["sold"], 1)
    return int(group["store"].iloc[0]), float(slope), float(start)


def main() -> None:
    sales = table()
    ray.init()
    started = time.perf_counter()
    models = ray.get([fit.remote(group) for _, group in sales.groupby("store")])
    print(f"{len(models)} models in {time.perf_counter() - started:.2f} s; the first: {models[0]}")
    assert len(models) == GROUPS and all(45 < start < 55 for _, _, start in models)
    ray.shutdown()


if __name__ == "__main__":
    main()
