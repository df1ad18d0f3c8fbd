"""Preprocessors of text, bins, powers and categories, against pandas and scikit-learn; more aggregations."""

import numpy as np
import pandas as pd
import pytest
import ray
from ray.data import aggregate as agg
from ray.data.preprocessors import (
    BatchMapper,
    Categorizer,
    Chain,
    CountVectorizer,
    CustomKBinsDiscretizer,
    FeatureHasher,
    HashingVectorizer,
    MultiHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    Tokenizer,
    TorchVisionPreprocessor,
    UniformKBinsDiscretizer,
)

FRAME = pd.DataFrame({"x": [1.0, 2.0, 4.0, 100.0], "text": ["a b", "b b c", "a", "d"], "key": list("uvuw")})


def transformed(preprocessor, frame=FRAME):
    return preprocessor.fit_transform(ray.data.from_pandas(frame).repartition(2)).to_pandas()


def test_robust_scaler():
    low, mid, high = FRAME["x"].quantile([0.25, 0.5, 0.75])
    np.testing.assert_allclose(transformed(RobustScaler(["x"]))["x"], (FRAME["x"] - mid) / (high - low))


CASES = [("yeo-johnson", 0.5), ("yeo-johnson", 0), ("yeo-johnson", 2), ("box-cox", 0), ("box-cox", 3)]


@pytest.mark.parametrize("method, power", CASES)
def test_powers_are_those_of_scipy(method, power):
    stats = pytest.importorskip("scipy.stats")
    frame = FRAME if method == "box-cox" else FRAME.assign(x=[-3.0, -0.5, 0.0, 7.0])
    want = (stats.boxcox if method == "box-cox" else stats.yeojohnson)(frame["x"].to_numpy(), power)
    np.testing.assert_allclose(transformed(PowerTransformer(["x"], power, method), frame)["x"], want)


def test_bins():
    got = transformed(CustomKBinsDiscretizer(["x"], [0, 1, 3, 200]))["x"].tolist()
    assert got == pd.cut(FRAME["x"], [0, 1, 3, 200], labels=False).tolist()
    got = transformed(UniformKBinsDiscretizer(["x"], 4))["x"].tolist()
    assert got == pd.cut(FRAME["x"], 4, labels=False).tolist()


def test_texts():
    got = transformed(Tokenizer(["text"], output_columns=["tokens"]))
    assert [list(t) for t in got["tokens"]] == [["a", "b"], ["b", "b", "c"], ["a"], ["d"]]
    counts = CountVectorizer(["text"], max_features=2, output_columns=["counts"])
    got = transformed(counts)
    assert list(counts.stats_["token_counts(text)"].items()) == [("b", 3), ("a", 2)]
    assert [list(c) for c in got["counts"]] == [[1, 1], [2, 0], [0, 1], [0, 0]]
    hashed = transformed(HashingVectorizer(["text"], 8, output_columns=["hashed"]))["hashed"]
    assert [int(h.sum()) for h in hashed] == [2, 3, 1, 1] and len(hashed[0]) == 8
    frame = pd.DataFrame({"a": [1, 2], "b": [3, 4]})
    got = transformed(FeatureHasher(["a", "b"], 5, "hashed"), frame)["hashed"]
    assert [float(h.sum()) for h in got] == [4.0, 6.0]


def test_categories():
    got = transformed(Categorizer(["key"]))
    assert got["key"].tolist() == FRAME["key"].tolist()
    lists = pd.DataFrame({"l": [["a", "b"], ["b"], ["c", "b", "b"]]})
    encoder = MultiHotEncoder(["l"])
    assert [list(v) for v in transformed(encoder, lists)["l"]] == [[1, 1, 0], [0, 1, 0], [0, 2, 1]]
    assert encoder.stats_ == {"unique_values(l)": {"a": 0, "b": 1, "c": 2}}
    assert [list(v) for v in transformed(OrdinalEncoder(["l"]), lists)["l"]] == [[0, 1], [1], [2, 1, 1]]
    assert transformed(OrdinalEncoder(["l"], encode_lists=False), lists)["l"].tolist() == [0, 1, 2]


def test_torchvision():
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).integers(0, 255, (3, 4, 5, 3)).astype(np.uint8)
    flip = TorchVisionPreprocessor(["data"], lambda x: torch.as_tensor(x).flip(0), ["flipped"])
    row = flip.transform(ray.data.from_numpy(images)).take(1)[0]
    assert (row["flipped"] == images[0][::-1]).all()


def test_preprocessors_survive_serialisation():
    fitted = CountVectorizer(["text"]).fit(ray.data.from_pandas(FRAME))
    again = type(fitted).deserialize(fitted.serialize())
    pd.testing.assert_frame_equal(again.transform_batch(FRAME), fitted.transform_batch(FRAME))


def test_counting_aggregations():
    frame = pd.DataFrame({"g": [1, 1, 1, 2], "x": [0.0, 5.0, 5.0, None], "l": [["a"], ["a", "b"], [], None]})
    ds = ray.data.from_pandas(frame).repartition(3)
    got = ds.aggregate(
        agg.ValueCounter("x"),
        agg.ApproximateTopK("x", 1),
        agg.MissingValuePercentage("x"),
        agg.ZeroPercentage("x"),
        agg.ApproximateQuantile("x", [0.0, 0.5]),
        agg.ApproximateTopK("l", 1, encode_lists=True, alias_name="top"),
    )
    assert got["value_counter(x)"] == {"values": [0.0, 5.0, None], "counts": [1, 2, 1]}
    assert got["approx_topk(x)"] == [{"x": 5.0, "count": 2}]
    assert got["missing_pct(x)"] == 25.0
    assert got["zero_pct(x)"] == pytest.approx(100 / 3)
    assert got["approx_quantile(x)"] == [0.0, 5.0]
    assert got["top"] == [{"l": "a", "count": 2}]


def test_aggregations_of_groups_are_those_of_pandas():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"a": rng.integers(0, 5, 500), "b": rng.choice(["x", "y"], 500), "v": rng.normal(size=500)}
    )
    frame.loc[rng.random(500) < 0.1, "v"] = None
    ds = ray.data.from_pandas(frame).repartition(4)
    kinds = (agg.Sum, agg.Min, agg.Max, agg.Mean, agg.Std)
    aggs = [agg.Count(), agg.Count("v", ignore_nulls=True), *(kind("v") for kind in kinds)]
    got = ds.groupby(["a", "b"]).aggregate(*aggs)
    got = got.to_pandas().sort_values(["a", "b"]).reset_index(drop=True)
    groups = frame.groupby(["a", "b"])
    want = groups["v"].agg(["count", "sum", "min", "max", "mean", "std"]).reset_index()
    assert got["count()"].tolist() == groups.size().tolist()
    for kind in ("count", "sum", "min", "max", "mean", "std"):
        np.testing.assert_allclose(got[f"{kind}(v)"].to_numpy(float), want[kind])


@pytest.mark.parametrize("form", ["pandas", "numpy"])
def test_functions_over_batches_as_preprocessors(form):
    sizes = []

    def double(batch):
        sizes.append(len(batch["x"]))
        batch = batch.copy()
        batch["y"] = batch["x"] * 2
        return batch

    mapper = BatchMapper(double, batch_format=form, batch_size=3)
    ds = ray.data.from_items([{"x": n} for n in range(8)])
    assert [row["y"] for row in mapper.transform(ds).take_all()] == [2 * n for n in range(8)]
    chain = Chain(mapper, BatchMapper(lambda b: {"z": np.asarray(b["y"]) + 1}, batch_format="numpy"))
    assert [row["z"] for row in chain.fit_transform(ds).take_all()] == [2 * n + 1 for n in range(8)]
    assert mapper.transform_batch(pd.DataFrame({"x": [4]}))["y"].tolist() == [8] and sizes == [1]
    assert mapper.fit_status() is mapper.FitStatus.NOT_FITTABLE
    with pytest.raises(ValueError, match="batch_format"):
        BatchMapper(double, batch_format="rows")
