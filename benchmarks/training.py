"""Training and search: how near Narke comes to what is possible without it.

    .venv/bin/python benchmarks/training.py                        all rows whose packages are installed
    .venv/bin/python benchmarks/training.py trials report          some of them
    .venv/bin/python benchmarks/training.py search --fashion DIR   DIR with the idx files of Fashion-MNIST
    .venv/bin/python benchmarks/training.py ingest --taxi DIR      DIR with yellow_tripdata_2018*.parquet

Each row prints its figures beside those of the same work without Narke (an ideal, torchrun, bare XGBoost, a bare write,
random search).
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))

import narke  # noqa: E402
from narke import train, tune  # noqa: E402
from narke.train import RunConfig, ScalingConfig  # noqa: E402
from narke.train.data_parallel_trainer import DataParallelTrainer  # noqa: E402

SLEEP_S = 0.01
SLOTS = 2
GIGABYTE = 1_000_000_000


@contextlib.contextmanager
def cluster(cpus: int = SLOTS) -> Iterator[Path]:
    """A cluster, and a folder for what the row writes."""
    with tempfile.TemporaryDirectory() as folder:
        narke.init(num_cpus=cpus, include_dashboard=False, log_to_driver=False)
        try:
            yield Path(folder)
        finally:
            narke.shutdown()


def fit(loop: Callable[..., Any], storage: Path, workers: int = 2, **more: Any) -> Any:
    """Run a training function on workers."""
    kind = more.pop("kind", DataParallelTrainer)
    return kind(
        loop,
        scaling_config=ScalingConfig(num_workers=workers),
        run_config=RunConfig(name="run", storage_path=str(storage)),
        **more,
    ).fit()


def peak_mb() -> float:
    """The greatest memory of this program so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


# ---- trials


def sleeper(config: dict[str, Any]) -> None:
    """A trial of 10 ms."""
    time.sleep(SLEEP_S)
    tune.report({"loss": config["x"]})


def row_trials(options: argparse.Namespace) -> dict[str, float]:
    """Many trials of 10 ms on two slots, and restoring them."""
    with cluster() as folder:
        begun = time.perf_counter()
        tune.Tuner(
            sleeper,
            param_space={"x": tune.uniform(0, 1)},
            tune_config=tune.TuneConfig(num_samples=options.trials, metric="loss", mode="min"),
            run_config=tune.RunConfig(name="e", storage_path=str(folder), verbose=0),
        ).fit()
        took_s = time.perf_counter() - begun
        driver_mb = peak_mb()
        begun = time.perf_counter()
        found = tune.Tuner.restore(str(folder / "e"), sleeper).get_results()
        results_s = time.perf_counter() - begun
        assert len(found) == options.trials
        begun = time.perf_counter()
        tune.Tuner.restore(str(folder / "e"), sleeper).fit()
        refit_s = time.perf_counter() - begun
    return {
        "trials": options.trials,
        "seconds": took_s,
        "of the ideal": took_s / (options.trials * SLEEP_S / SLOTS),
        "driver MB": driver_mb,
        "restore s": results_s,
        "restore and fit s": refit_s,
    }


# ---- reports


def row_report(options: argparse.Namespace) -> dict[str, float]:
    """`train.report` of two workers, and how long a run of nothing takes."""

    def loop() -> float:
        took = []
        for step in range(2000):
            begun = time.perf_counter()
            train.report({"step": step, "loss": 1.0})
            took.append(time.perf_counter() - begun)
        return statistics.median(took)

    with cluster() as folder:
        begun = time.perf_counter()
        fit(lambda: train.report({"a": 1}), folder / "nothing")
        whole_s = time.perf_counter() - begun
        value = fit(loop, folder / "many").return_value
    return {"report us": 1e6 * value, "whole run s": whole_s}


# ---- steps beside torchrun

STEPS = """
import os, sys, time
import torch
import torch.distributed as dist

def steps(model, data, target):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    took = []
    for step in range(400):
        begun = time.perf_counter()
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(data), target).backward()
        optimizer.step()
        took.append(time.perf_counter() - begun)
    took = sorted(took[100:])
    return len(took) / sum(took)

def case():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    layers = [torch.nn.Linear(256, 256), torch.nn.ReLU()] * 4
    return torch.nn.Sequential(*layers), torch.randn(128, 256), torch.randn(128, 256)

if __name__ == "__main__":
    dist.init_process_group("gloo")
    model, data, target = case()
    rate = steps(torch.nn.parallel.DistributedDataParallel(model), data, target)
    if dist.get_rank() == 0:
        print("rate", rate)
"""


def narke_rate(folder: Path, program: Path) -> float:
    """Steps a second of two workers of a TorchTrainer."""
    from narke.train.torch import TorchTrainer

    def loop() -> float:
        from narke.train.torch import prepare_model

        names: dict[str, Any] = {"__name__": "steps"}
        exec(program.read_text(), names)
        model, data, target = names["case"]()
        return names["steps"](prepare_model(model), data, target)

    return fit(loop, folder, kind=TorchTrainer).return_value


def row_torchrun(options: argparse.Namespace) -> dict[str, float]:
    """Steady steps a second of two gloo workers, in turns with torchrun on the same loop."""
    ratios, rates = [], []
    with cluster() as folder:
        program = folder / "steps.py"
        program.write_text(STEPS)
        run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        for number in range(options.rounds):
            if number % 2:  # whoever comes first meets another state of the machine
                rates.append(narke_rate(folder / str(number), program))
            bare = subprocess.run([*run, str(program)], capture_output=True, text=True, check=True)
            if not number % 2:
                rates.append(narke_rate(folder / str(number), program))
            ratios.append(rates[-1] / float(bare.stdout.split("rate")[1]))
    return {"steps/s": statistics.median(rates), "of torchrun": statistics.median(ratios)}


# ---- checkpoints


def bare_write_s(folder: Path) -> float:
    """Seconds to copy a gigabyte from file to file."""
    source, target = folder / "source", folder / "target"
    source.write_bytes(os.urandom(1_000_000) * 1000)
    begun = time.perf_counter()
    subprocess.run(["cp", str(source), str(target)], check=True)
    took_s = time.perf_counter() - begun
    target.unlink()
    source.unlink()
    return took_s


def row_checkpoint(options: argparse.Namespace) -> dict[str, float]:
    """A checkpoint of 1 GB that is uploaded beside the training."""

    def loop() -> tuple[float, float]:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "weights").write_bytes(os.urandom(1_000_000) * 1000)
            begun = time.perf_counter()
            train.report(
                {"a": 1},
                checkpoint=train.Checkpoint.from_directory(folder),
                checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,
                delete_local_checkpoint_after_upload=False,
            )
            blocked_s = time.perf_counter() - begun
            train.get_checkpoint()
            return blocked_s, time.perf_counter() - begun

    with cluster() as folder:
        bare_s = bare_write_s(folder)
        blocked_s, whole_s = fit(loop, folder, workers=1).return_value
        bare_s = min(bare_s, bare_write_s(folder))
    return {
        "blocked ms": 1000 * blocked_s,
        "GB/s": GIGABYTE / 1e9 / whole_s,
        "of the disk's rate": bare_s / whole_s,
    }


# ---- XGBoost


def row_xgboost(options: argparse.Namespace) -> dict[str, float]:
    """XGBoost over two workers of one thread beside bare XGBoost with two threads."""
    import xgboost

    rng = np.random.default_rng(0)
    rows = rng.standard_normal((options.rows, 20)).astype("float32")
    label = (rows[:, :5].sum(axis=1) + rng.standard_normal(len(rows)) > 0).astype("float32")
    params = {"objective": "binary:logistic", "tree_method": "hist", "max_depth": 6}

    def loop() -> float:
        rank, size = train.get_context().get_world_rank(), train.get_context().get_world_size()
        mine = np.load(path, mmap_mode="r")[rank::size]
        data = xgboost.DMatrix(mine[:, :-1], label=mine[:, -1])
        begun = time.perf_counter()
        xgboost.train({**params, "nthread": 1}, data, num_boost_round=50)
        return time.perf_counter() - begun

    from narke.train.xgboost import XGBoostTrainer

    ratios = []
    with cluster() as folder:
        path = str(folder / "data.npy")
        np.save(path, np.column_stack([rows, label]))
        for number in range(options.rounds):
            data = xgboost.DMatrix(rows, label=label)
            begun = time.perf_counter()
            xgboost.train({**params, "nthread": 2}, data, num_boost_round=50)
            bare_s = time.perf_counter() - begun
            ratios.append(fit(loop, folder / str(number), kind=XGBoostTrainer).return_value / bare_s)
    return {"of bare XGBoost's time": statistics.median(ratios)}


# ---- ingest

FEATURES = ("trip_distance", "passenger_count", "fare_amount")
EPOCHS = 5


def row_ingest(options: argparse.Namespace) -> dict[str, float]:
    """How long two workers of PyTorch wait for batches of the taxi set, on which they train a small network."""
    from narke import data
    from narke.train.torch import TorchTrainer

    def loop() -> tuple[list[float], float, float, int]:
        import torch

        from narke.train.torch import prepare_model

        torch.manual_seed(0)
        layers = [torch.nn.Linear(3, 256), torch.nn.ReLU(), torch.nn.Linear(256, 256), torch.nn.ReLU()]
        model = prepare_model(torch.nn.Sequential(*layers, torch.nn.Linear(256, 1)))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        first: list[float] = []
        later, trained, rows = 0.0, 0.0, 0
        for _ in range(EPOCHS):
            begun = time.perf_counter()
            shard = train.get_dataset_shard("train")
            batches = iter(
                shard.iter_torch_batches(batch_size=4096, prefetch_batches=4, dtypes=torch.float32)
            )
            is_first = True
            while True:
                batch = next(batches, None)
                now = time.perf_counter()
                if is_first:
                    first.append(now - begun)
                else:
                    later += now - begun
                is_first = False
                if batch is None:
                    break
                rows += learn(model, optimizer, batch)
                begun = time.perf_counter()
                trained += begun - now
        train.report({"rows": rows})
        return first, later, trained, rows

    with cluster(4) as folder:
        files = sorted(str(path) for path in Path(options.taxi).glob("yellow_tripdata_2018*.parquet"))
        taxi = data.read_parquet(files, columns=[*FEATURES, "tip_amount"])
        result = fit(loop, folder, kind=TorchTrainer, datasets={"train": taxi})
    first, later, trained, rows = result.return_value
    assert rows == EPOCHS * 360_000 // 2
    whole = sum(first) + later + trained
    return {
        "waiting %": 100 * (sum(first) + later) / whole,
        "of it after an epoch's first batch %": 100 * later / whole,
        "first batch of all ms": 1000 * first[0],
        "first batch of later epochs ms": 1000 * statistics.median(first[1:]),
        "trained s": trained,
    }


def learn(model: Any, optimizer: Any, batch: dict[str, Any]) -> int:
    """A step of gradient descent on a batch; returns its rows."""
    import torch

    x = torch.nan_to_num(torch.stack([batch[name] for name in FEATURES], dim=1)) / 100
    y = torch.nan_to_num(batch["tip_amount"])[:, None] / 100
    optimizer.zero_grad()
    torch.nn.functional.mse_loss(model(x), y).backward()
    optimizer.step()
    return len(y)


# ---- search


def images(folder: Path, name: str) -> np.ndarray:
    """An idx file, unpacked."""
    data = gzip.decompress(next(folder.glob(name)).read_bytes())
    count = data[3]
    shape = [int.from_bytes(data[4 + 4 * at : 8 + 4 * at], "big") for at in range(count)]
    return np.frombuffer(data, np.uint8, offset=4 + 4 * count).reshape(shape)


class Net:
    """Two layers and softmax, trained by SGD with momentum."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.weights = [rng.standard_normal((784, 64)) / 28, rng.standard_normal((64, 10)) / 8]
        self.speed = [np.zeros_like(each) for each in self.weights]

    def epoch(self, x: np.ndarray, y: np.ndarray, rate: float, momentum: float, decay: float) -> None:
        """One pass in batches of 64."""
        for at in range(0, len(x), 64):
            batch, wanted = x[at : at + 64], y[at : at + 64]
            hidden = np.maximum(batch @ self.weights[0], 0)
            odds = self.odds(hidden)
            odds[np.arange(len(batch)), wanted] -= 1
            odds /= len(batch)
            back = (odds @ self.weights[1].T) * (hidden > 0)
            for layer, slope in enumerate((batch.T @ back, hidden.T @ odds)):
                step = slope + decay * self.weights[layer]
                self.speed[layer] = momentum * self.speed[layer] - rate * step
                self.weights[layer] = self.weights[layer] + self.speed[layer]

    def odds(self, hidden: np.ndarray) -> np.ndarray:
        """Probabilities of the classes."""
        score = hidden @ self.weights[1]
        score = np.exp(np.clip(score - score.max(axis=1, keepdims=True), -80, 0))
        return score / score.sum(axis=1, keepdims=True)

    def accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        """The share that is right."""
        found = self.odds(np.maximum(x @ self.weights[0], 0)).argmax(axis=1)
        return float((found == y).mean())


def learner(config: dict[str, Any], data: tuple[np.ndarray, ...]) -> None:
    """A trial: epochs on Fashion-MNIST, each reported with a checkpoint."""
    x, y, test_x, test_y = data
    net, first = Net(0), 0
    begun = tune.get_checkpoint()
    if begun:
        with begun.as_directory() as folder:
            first, net.weights, net.speed = np.load(Path(folder, "net.npy"), allow_pickle=True)
    for epoch in range(first + 1, config["epochs"] + 1):
        net.epoch(x, y, config["rate"], config["momentum"], config["decay"])
        with tempfile.TemporaryDirectory() as folder:
            state = np.empty(3, dtype=object)
            state[:] = [epoch, net.weights, net.speed]
            np.save(Path(folder, "net.npy"), state)
            tune.report(
                {"accuracy": net.accuracy(test_x, test_y)}, checkpoint=tune.Checkpoint.from_directory(folder)
            )


def searched(
    data: tuple, folder: Path, samples: int, epochs: int, seed: int, **more: Any
) -> tuple[float, int]:
    """The best accuracy of a search, and its epochs in all."""
    np.random.seed(seed)
    grid = tune.Tuner(
        tune.with_parameters(learner, data=data),
        param_space={
            "rate": tune.loguniform(1e-4, 1.0),
            "momentum": tune.uniform(0.0, 0.99),
            "decay": tune.loguniform(1e-6, 1e-1),
            "epochs": epochs,
        },
        tune_config=tune.TuneConfig(
            num_samples=samples,
            metric="accuracy",
            mode="max",
            search_alg=tune.search.BasicVariantGenerator(random_state=seed),
            **more,
        ),
        run_config=tune.RunConfig(
            name=f"{seed}-{time.time_ns()}",
            storage_path=str(folder),
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
        ),
    ).fit()
    best = max(result.metrics_dataframe["accuracy"].max() for result in grid)
    return float(best), sum(len(result.metrics_dataframe) for result in grid)


def row_search(options: argparse.Namespace) -> dict[str, float]:
    """ASHA and population based training beside random search with about the same number of epochs."""
    few, epochs = 4, 18
    where = Path(options.fashion)
    data = (
        images(where, "train*images*")[:6000].reshape(-1, 784) / 255.0,
        images(where, "train*labels*")[:6000],
        images(where, "t10k*images*")[:2000].reshape(-1, 784) / 255.0,
        images(where, "t10k*labels*")[:2000],
    )
    found: dict[str, list[tuple[float, int]]] = {"random": [], "ASHA": [], "PBT": []}
    with cluster() as folder:
        for seed in range(options.rounds):
            found["random"].append(searched(data, folder, few, epochs, seed))
            asha = tune.schedulers.ASHAScheduler(max_t=epochs, grace_period=1, reduction_factor=3)
            found["ASHA"].append(searched(data, folder, 3 * few, epochs, seed, scheduler=asha))
            pbt = tune.schedulers.PopulationBasedTraining(
                time_attr="training_iteration",
                perturbation_interval=3,
                hyperparam_mutations={
                    "rate": tune.loguniform(1e-4, 1.0),
                    "momentum": tune.uniform(0.0, 0.99),
                    "decay": tune.loguniform(1e-6, 1e-1),
                },
            )
            found["PBT"].append(searched(data, folder, few, epochs, seed, scheduler=pbt))
    rows: dict[str, float] = {}
    for name, values in found.items():
        rows[f"{name}: accuracy"] = statistics.mean(value for value, _ in values)
        rows[f"{name}: epochs"] = statistics.mean(count for _, count in values)
        better = [mine > other for (mine, _), (other, _) in zip(values, found["random"], strict=True)]
        rows[f"{name}: seeds better than random"] = sum(better)
    return rows


ROWS = {name.removeprefix("row_"): each for name, each in list(globals().items()) if name.startswith("row_")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("row", nargs="*", help=f"of {', '.join(ROWS)}; all by default")
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=400_000, help="of the table for XGBoost")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fashion", help="folder with Fashion-MNIST; without it there is no row `search`")
    parser.add_argument(
        "--taxi", help="folder with the yellow taxis' trips; without it there is no row `ingest`"
    )
    parser.add_argument("--json", help="also write the figures to this file")
    options = parser.parse_args()
    folders = {"search": options.fashion, "ingest": options.taxi}
    chosen = options.row or [name for name in ROWS if folders.get(name, True)]
    found = {}
    for name in chosen:
        try:
            found[name] = ROWS[name](options)
        except ImportError as error:
            print(f"{name}: left out, {error}")
            continue
        print(
            f"{name}: " + ", ".join(f"{key} {value:,.4g}" for key, value in found[name].items()), flush=True
        )
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
