"""Tables that tests compare with, and the comparison."""

import numpy as np
import pandas as pd

ROWS = 1000


def trips(rows=ROWS, seed=0):
    """A table with a unique row number, small integer and string keys, and measures, one of which has nulls."""
    rng = np.random.default_rng(seed)
    fare = rng.gamma(2.0, 7.0, rows)
    tip = np.where(rng.random(rows) < 0.1, np.nan, rng.random(rows))
    return pd.DataFrame(
        {
            "row": np.arange(rows),
            "zone": rng.integers(0, 17, rows),
            "flag": rng.choice(["N", "Y", "maybe"], rows),
            "fare": fare,
            "tip": tip,
        }
    )


def same(got, want, by="row"):
    """Assert that two frames hold the same rows, in any order."""
    assert list(got.columns) == list(want.columns)
    same_order(got.sort_values(by), want.sort_values(by))


def same_order(got, want):
    """Assert that two frames hold the same rows in the same order; types may differ in width."""
    got, want = got.reset_index(drop=True), want.reset_index(drop=True)
    assert list(got.columns) == list(want.columns)
    assert len(got) == len(want)
    for name in want.columns:
        if pd.api.types.is_numeric_dtype(want[name]):
            np.testing.assert_allclose(got[name].to_numpy(float), want[name].to_numpy(float), err_msg=name)
        else:
            assert got[name].astype(str).tolist() == want[name].astype(str).tolist(), name
