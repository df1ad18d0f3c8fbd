"""A program that uses Data, Train, Tune and Serve, so that their pages have something to show. Arguments: a folder, a
port. It says READY when all of them have begun, and goes on asking until its input ends."""

import sys
import threading
import time
import urllib.request

import narke
from narke import data, serve, train, tune
from narke.train import RunConfig, ScalingConfig
from narke.train.data_parallel_trainer import DataParallelTrainer

FOLDER, PORT = sys.argv[1], int(sys.argv[2])


def learn(config):
    for step in range(40):
        train.report({"loss": 2.0 / (step + 1), "accuracy": 1 - 0.8 / (step + 1)})


def search(config):
    for step in range(12):
        tune.report({"loss": (config["rate"] - 0.3) ** 2 + 1.0 / (step + 1)})


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 0})
class Hello:
    def __call__(self, request):
        time.sleep(0.004)
        return "hello"


def ask(stopping):
    while not stopping.is_set():
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/hello", timeout=10) as answer:
            answer.read()
        time.sleep(0.01)


narke.init(log_to_driver=False)
serve.start(http_options={"port": PORT})
serve.run(Hello.bind(), name="greeter", route_prefix="/hello")
stopping = threading.Event()
asking = threading.Thread(target=ask, args=[stopping])
asking.start()
rows = data.range(40_000, override_num_blocks=16).map_batches(lambda batch: {"double": batch["id"] * 2})
rows.materialize()
scaling = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.2}, trainer_resources={"CPU": 0})
DataParallelTrainer(
    learn, scaling_config=scaling, run_config=RunConfig(name="curve", storage_path=FOLDER)
).fit()
tune.Tuner(
    tune.with_resources(search, {"CPU": 0.2}),
    param_space={"rate": tune.uniform(0, 1)},
    tune_config=tune.TuneConfig(num_samples=6, metric="loss", mode="min"),
    run_config=tune.RunConfig(name="rates", storage_path=FOLDER, verbose=0),
).fit()
print("READY", flush=True)
sys.stdin.readline()
stopping.set()
asking.join()
serve.shutdown()
