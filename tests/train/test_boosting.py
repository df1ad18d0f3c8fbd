"""Training boosted trees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import narke
from narke import air, train
from narke.train import ScalingConfig

pytestmark = pytest.mark.usefixtures("cluster")


def table(rows: int = 400) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(rows, 3)), columns=list("abc"))
    frame["y"] = (frame["a"] * 2 + frame["b"] > 0).astype(int)
    return frame


@pytest.fixture(scope="module")
def xgboost():
    return pytest.importorskip("xgboost", reason="XGBoost is not installed: pip install xgboost-cpu")


def boosted(storage: Path, workers: int, rounds: int = 6, **more):
    from narke.train.xgboost import XGBoostTrainer

    frame = table()
    return XGBoostTrainer(
        label_column="y",
        params={"objective": "binary:logistic", "eval_metric": ["logloss", "error"], "tree_method": "hist"},
        num_boost_round=rounds,
        datasets={"train": narke.data.from_pandas(frame), "valid": narke.data.from_pandas(frame.head(100))},
        scaling_config=air.ScalingConfig(num_workers=workers),
        run_config=air.RunConfig(name="run", storage_path=str(storage)),
        **more,
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_table_is_trained_like_by_the_library_alone(xgboost, tmp_path: Path, workers: int) -> None:
    from narke.train.xgboost import XGBoostPredictor, XGBoostTrainer

    result = boosted(tmp_path, workers).fit()
    frame, log = table(), {}
    matrix = xgboost.DMatrix(frame[list("abc")], label=frame["y"])
    params = {"objective": "binary:logistic", "eval_metric": ["logloss"], "tree_method": "hist"}
    xgboost.train(params, matrix, 6, evals=[(matrix, "train")], evals_result=log, verbose_eval=False)
    assert result.metrics["train-logloss"] == pytest.approx(log["train"]["logloss"][-1], rel=0.05)
    assert result.metrics["training_iteration"] >= 6
    model = XGBoostTrainer.get_model(result.checkpoint)
    assert model.num_boosted_rounds() == 6
    predictor = XGBoostPredictor.from_checkpoint(result.checkpoint)
    found = predictor.predict(frame[list("abc")])
    assert ((found["predictions"] > 0.5) == frame["y"]).mean() > 0.9


def test_more_rounds_from_a_checkpoint(xgboost, tmp_path: Path) -> None:
    from narke.train.xgboost import XGBoostTrainer

    first = boosted(tmp_path / "one", 1, rounds=3).fit()
    second = boosted(tmp_path / "two", 1, rounds=2, resume_from_checkpoint=first.checkpoint).fit()
    assert XGBoostTrainer.get_model(second.checkpoint).num_boosted_rounds() == 5
    assert second.metrics["train-logloss"] < first.metrics["train-logloss"]


def test_a_fitted_preprocessor_goes_with_the_checkpoint(xgboost, tmp_path: Path) -> None:
    from narke.data.preprocessors import MinMaxScaler
    from narke.train.batch_predictor import BatchPredictor
    from narke.train.xgboost import XGBoostPredictor

    result = boosted(tmp_path, 1, preprocessor=MinMaxScaler(columns=["a"])).fit()
    kept = result.checkpoint.get_preprocessor()
    assert kept.stats_["max(a)"] == table()["a"].max()
    batches = BatchPredictor.from_checkpoint(result.checkpoint, XGBoostPredictor)
    data = narke.data.from_pandas(table())
    found = batches.predict(data, feature_columns=list("abc"), keep_columns=["y"], batch_size=100).to_pandas()
    assert len(found) == 400
    assert ((found["predictions"] > 0.5) == found["y"]).mean() > 0.9


def test_a_function_over_the_communicator(xgboost, tmp_path: Path) -> None:
    from narke.train.xgboost import RayTrainReportCallback, XGBoostTrainer

    def loop():
        import xgboost

        frame = train.get_dataset_shard("train").materialize().to_pandas()
        matrix = xgboost.DMatrix(frame[list("abc")], label=frame["y"])
        evals = [(matrix, "train")]
        callback = RayTrainReportCallback(metrics={"loss": "train-logloss"}, frequency=2)
        params = {"objective": "binary:logistic", "eval_metric": ["logloss"]}
        xgboost.train(params, matrix, 4, evals=evals, callbacks=[callback], verbose_eval=False)
        return xgboost.collective.get_world_size()

    result = XGBoostTrainer(
        loop,
        scaling_config=ScalingConfig(num_workers=2),
        datasets={"train": narke.data.from_pandas(table())},
        run_config=train.RunConfig(storage_path=str(tmp_path)),
    ).fit()
    assert result.return_value == 2
    assert list(result.metrics) == ["loss"]
    assert RayTrainReportCallback.get_model(result.checkpoint).num_boosted_rounds() == 4


def test_what_a_table_needs(xgboost) -> None:
    from narke.train.xgboost import XGBoostTrainer

    with pytest.raises(ValueError, match="label_column"):
        XGBoostTrainer(params={})
    with pytest.raises(ValueError, match="'train'"):
        XGBoostTrainer(label_column="y", datasets={"other": narke.data.range(3)})


def test_a_missing_label_column_names_the_columns(xgboost, tmp_path: Path) -> None:
    trainer = boosted(tmp_path, 1)
    trainer.label_column = "z"
    with pytest.raises(train.TrainingFailedError, match=r"'z'.*\['a', 'b', 'c', 'y'\]"):
        trainer.fit()


@pytest.fixture(scope="module")
def lightgbm():
    return pytest.importorskip("lightgbm", reason="LightGBM is not installed: pip install lightgbm")


@pytest.mark.parametrize("workers", [1, 2])
def test_lightgbm_trains_on_a_table(lightgbm, tmp_path: Path, workers: int) -> None:
    from narke.train.lightgbm import LightGBMPredictor, LightGBMTrainer

    data = narke.data.from_pandas(table())
    result = LightGBMTrainer(
        label_column="y",
        params={"objective": "binary", "metric": ["binary_logloss"], "min_data_in_leaf": 5},
        num_boost_round=8,
        datasets={"train": data},
        scaling_config=air.ScalingConfig(num_workers=workers),
        run_config=air.RunConfig(name="run", storage_path=str(tmp_path)),
    ).fit()
    assert result.metrics["training_iteration"] == 8
    assert result.metrics["train-binary_logloss"] < 0.5
    assert LightGBMTrainer.get_model(result.checkpoint).current_iteration() == 8
    found = LightGBMPredictor.from_checkpoint(result.checkpoint).predict(table()[list("abc")])
    assert ((found["predictions"] > 0.5) == table()["y"]).mean() > 0.9


def test_sklearn_fits_and_scores(tmp_path: Path) -> None:
    from sklearn.ensemble import RandomForestClassifier

    from narke.train.sklearn import SklearnPredictor, SklearnTrainer

    data = narke.data.from_pandas(table())
    result = SklearnTrainer(
        estimator=RandomForestClassifier(n_estimators=10, random_state=0),
        label_column="y",
        datasets={"train": data, "valid": narke.data.from_pandas(table().head(50))},
        scoring="accuracy",
        cv=3,
        scaling_config=air.ScalingConfig(trainer_resources={"CPU": 2}),
        run_config=air.RunConfig(name="run", storage_path=str(tmp_path)),
    ).fit()
    assert result.metrics["valid"]["test_score"] > 0.95
    assert result.metrics["cv"]["test_score_mean"] > 0.85
    found = SklearnPredictor.from_checkpoint(result.checkpoint).predict(table()[list("abc")].to_numpy())
    assert (found["predictions"] == table()["y"]).mean() > 0.95
