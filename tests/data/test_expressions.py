import numpy as np
import pytest
import ray
from ray.data.expressions import col, lit
from tables import same_order, trips

DF = trips(300)


@pytest.fixture(scope="module")
def ds(cluster):
    return ray.data.from_pandas(DF).repartition(2).materialize()


TEXTS = {
    "zone == 3": DF["zone"] == 3,
    "zone != 3 and fare >= 10": (DF["zone"] != 3) & (DF["fare"] >= 10),
    "zone < 3 or flag == 'Y'": (DF["zone"] < 3) | (DF["flag"] == "Y"),
    "not (fare > 10)": ~(DF["fare"] > 10),
    "fare * 2 + 1 > zone": DF["fare"] * 2 + 1 > DF["zone"],
    "fare / 2 < -zone + 8": DF["fare"] / 2 < -DF["zone"] + 8,
    "flag in ['N', 'maybe']": DF["flag"].isin(["N", "maybe"]),
    "zone not in [1, 2, 3]": ~DF["zone"].isin([1, 2, 3]),
    "(zone > 2) & (zone < 5)": (DF["zone"] > 2) & (DF["zone"] < 5),
}


@pytest.mark.parametrize("text", list(TEXTS))
def test_texts(ds, text):
    same_order(ds.filter(expr=text).to_pandas(), DF[TEXTS[text]])


@pytest.mark.parametrize("text", ["zone ==", "import os", "open('x')", "zone.real"])
def test_texts_that_mean_nothing(ds, text):
    with pytest.raises(ValueError):
        ds.filter(expr=text).take_all()


EXPRESSIONS = {
    "sum": (lambda: col("fare") + col("zone"), DF["fare"] + DF["zone"]),
    "difference": (lambda: 100 - col("fare"), 100 - DF["fare"]),
    "quotient": (lambda: col("zone") / 4, DF["zone"] / 4),
    "floor quotient": (lambda: col("zone") // 4, DF["zone"] // 4),
    "remainder": (lambda: col("zone") % 4, DF["zone"] % 4),
    "power": (lambda: col("zone") ** 2, DF["zone"] ** 2),
    "null": (lambda: col("tip").is_null(), DF["tip"].isna()),
    "not null": (lambda: col("tip").is_not_null(), DF["tip"].notna()),
    "member": (lambda: col("zone").is_in([1, 2]), DF["zone"].isin([1, 2])),
    "no member": (lambda: col("zone").not_in([1, 2]), ~DF["zone"].isin([1, 2])),
    "both": (lambda: (col("zone") > 3) & (col("fare") < 9), (DF["zone"] > 3) & (DF["fare"] < 9)),
    "either": (lambda: (col("zone") > 3) | (col("fare") < 9), (DF["zone"] > 3) | (DF["fare"] < 9)),
    "neither": (lambda: ~(col("zone") > 3), ~(DF["zone"] > 3)),
    "floor": (lambda: col("fare").floor(), np.floor(DF["fare"])),
    "log": (lambda: (col("fare") + 1).ln(), np.log(DF["fare"] + 1)),
    "constant": (lambda: lit(7), np.full(len(DF), 7)),
}


@pytest.mark.parametrize("name", list(EXPRESSIONS))
def test_expressions(ds, name):
    make, want = EXPRESSIONS[name]
    got = ds.with_column("v", make()).to_pandas()["v"]
    np.testing.assert_allclose(got.to_numpy(float), np.asarray(want, dtype=float))


def test_an_expression_has_no_truth_of_its_own():
    with pytest.raises(TypeError, match="&"):
        bool(col("x") > 1) and None


def test_a_filter_takes_an_expression(ds):
    assert ds.filter(expr=col("zone") == 3).count() == (DF["zone"] == 3).sum()
