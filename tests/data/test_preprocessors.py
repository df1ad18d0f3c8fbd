import numpy as np
import pandas as pd
import pytest
import ray
from ray.data import preprocessors as pre
from ray.data.preprocessor import PreprocessorNotFittedException
from tables import trips

DF = trips(200)


@pytest.fixture(scope="module")
def ds(cluster):
    return ray.data.from_pandas(DF).repartition(3).materialize()


def column(dataset, name):
    return dataset.to_pandas().sort_values("row")[name].to_numpy()


def test_standard_scaler(ds):
    got = column(pre.StandardScaler(columns=["fare"]).fit_transform(ds), "fare")
    np.testing.assert_allclose(got, (DF["fare"] - DF["fare"].mean()) / DF["fare"].std(ddof=0))


def test_min_max_scaler_into_another_column(ds):
    made = pre.MinMaxScaler(columns=["fare"], output_columns=["f"]).fit_transform(ds)
    low, high = DF["fare"].min(), DF["fare"].max()
    np.testing.assert_allclose(column(made, "f"), (DF["fare"] - low) / (high - low))
    np.testing.assert_allclose(column(made, "fare"), DF["fare"])


def test_max_abs_scaler(ds):
    got = column(pre.MaxAbsScaler(columns=["fare"]).fit_transform(ds), "fare")
    np.testing.assert_allclose(got, DF["fare"] / DF["fare"].abs().max())


def test_encoders_number_in_sorted_order(ds):
    want = DF["flag"].map({"N": 0, "Y": 1, "maybe": 2})
    label = pre.LabelEncoder(label_column="flag")
    encoded = label.fit_transform(ds)
    assert column(encoded, "flag").tolist() == want.tolist()
    assert column(label.inverse_transform(encoded), "flag").tolist() == DF["flag"].tolist()
    assert column(pre.OrdinalEncoder(columns=["flag"]).fit_transform(ds), "flag").tolist() == want.tolist()


def test_one_hot_encoder(ds):
    got = np.stack(column(pre.OneHotEncoder(columns=["flag"]).fit_transform(ds), "flag"))
    np.testing.assert_array_equal(got, pd.get_dummies(DF["flag"]).to_numpy())


@pytest.mark.parametrize("strategy", ["mean", "constant"])
def test_imputer(ds, strategy):
    made = pre.SimpleImputer(
        columns=["tip"], strategy=strategy, fill_value=5.0 if strategy == "constant" else None
    )
    got = column(made.fit_transform(ds), "tip")
    np.testing.assert_allclose(got, DF["tip"].fillna(5.0 if strategy == "constant" else DF["tip"].mean()))


def test_imputer_takes_the_most_frequent():
    rows = ray.data.from_items([{"row": i, "k": k} for i, k in enumerate(["a", "b", None, "b"])])
    made = pre.SimpleImputer(columns=["k"], strategy="most_frequent").fit_transform(rows)
    assert column(made, "k").tolist() == ["a", "b", "b", "b"]


def test_normalizer(ds):
    made = pre.Normalizer(columns=["fare", "zone"]).transform(ds)
    length = np.sqrt(DF["fare"] ** 2 + DF["zone"] ** 2)
    np.testing.assert_allclose(column(made, "zone"), DF["zone"] / length)


def test_concatenator(ds):
    made = pre.Concatenator(columns=["fare", "zone"], dtype=np.float32).transform(ds)
    got = np.stack(column(made, "concat_out"))
    np.testing.assert_allclose(got, DF[["fare", "zone"]].to_numpy(np.float32))
    assert "fare" not in made.columns()


def test_chain(ds):
    chain = pre.Chain(pre.SimpleImputer(columns=["tip"]), pre.StandardScaler(columns=["tip"]))
    filled = DF["tip"].fillna(DF["tip"].mean())
    np.testing.assert_allclose(
        column(chain.fit_transform(ds), "tip"), (filled - filled.mean()) / filled.std(ddof=0)
    )


def test_a_batch_may_be_changed_alone(ds):
    scaler = pre.StandardScaler(columns=["fare"]).fit(ds)
    got = scaler.transform_batch(DF[:5])
    np.testing.assert_allclose(got["fare"], column(scaler.transform(ds), "fare")[:5])


def test_one_that_has_not_learned_refuses(ds):
    with pytest.raises(PreprocessorNotFittedException):
        pre.StandardScaler(columns=["fare"]).transform(ds)


def test_one_that_has_learned_may_be_stored(ds):
    scaler = pre.StandardScaler(columns=["fare"]).fit(ds)
    again = pre.StandardScaler.deserialize(scaler.serialize())
    np.testing.assert_allclose(column(again.transform(ds), "fare"), column(scaler.transform(ds), "fare"))
