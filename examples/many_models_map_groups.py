"""Many small models, one for each group of a table: `groupby().map_groups()` of a dataset.

narke run examples/many_models_map_groups.py
"""

import time

import numpy as np
import pandas as pd
import ray
from many_models_tasks import GROUPS, table


def fit(group: pd.DataFrame) -> pd.DataFrame:
    """A line through one store's sales, as a row."""
    slope, start = np.polyfit(group["price"], group["sold"], 1)
    return pd.DataFrame({"store": [group["store"].iloc[0]], "slope": [slope], "start": [start]})


def main() -> None:
    ray.init()
    sales = ray.data.from_pandas(table())
    started = time.perf_counter()
    models = sales.groupby("store").map_groups(fit, batch_format="pandas").to_pandas()
    print(f"{len(models)} models in {time.perf_counter() - started:.2f} s")
    print(models.sort_values("store").head(3).to_string(index=False))
    assert len(models) == GROUPS and models["start"].between(45, 55).all()
    ray.shutdown()


if __name__ == "__main__":
    main()
