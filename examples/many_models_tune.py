"""Many small models, one for each group of a table: a trial of Tune for each group, which chooses the model's degree.

narke run examples/many_models_tune.py
"""

import tempfile
import time

import numpy as np
import pandas as pd
import ray
from many_models_tasks import GROUPS, table
from ray import tune


def fit(config: dict, sales: dict[int, pd.DataFrame]) -> None:
    """Fit one store's sales with polynomials of several degrees; report the error of each on rows held back."""
    group = sales[config["store"]]
    seen, held = group.iloc[:30], group.iloc[30:]
    for degree in config["degrees"]:
        model = np.polyfit(seen["price"], seen["sold"], degree)
        error = float(np.mean((np.polyval(model, held["price"]) - held["sold"]) ** 2))
        tune.report({"error": error, "degree": degree})


def main() -> None:
    sales = {int(store): group for store, group in table().groupby("store")}
    ray.init()
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        grid = tune.Tuner(
            tune.with_parameters(fit, sales=sales),
            param_space={"store": tune.grid_search(sorted(sales)), "degrees": [1, 2, 3]},
            tune_config=tune.TuneConfig(metric="error", mode="min"),
            run_config=tune.RunConfig(storage_path=folder, verbose=0),
        ).fit()
        frame = grid.get_dataframe(filter_metric="error", filter_mode="min")
        print(f"{len(grid)} trials in {time.perf_counter() - started:.2f} s; best degrees of the stores:")
        print(frame["degree"].value_counts().to_string())
    assert len(frame) == GROUPS and not grid.errors
    ray.shutdown()


if __name__ == "__main__":
    main()
