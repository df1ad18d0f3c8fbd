"""Programs of former releases."""

import requests
from ray import serve
from ray.serve import PredictorDeployment


class Adder:
    """A predictor in the manner of ray.train."""

    def __init__(self, step):
        self.step = step

    @classmethod
    def from_checkpoint(cls, checkpoint, factor=1):
        return cls(checkpoint["step"] * factor)

    def predict(self, data):
        return data + self.step


def test_a_predictor_is_served(clean):
    serve.run(
        PredictorDeployment.options(
            name="Add", num_replicas=1, route_prefix="/add", ray_actor_options={"num_cpus": 0.1}
        ).bind(Adder, {"step": 2}, batching_params={"max_batch_size": 4}, factor=10)
    )
    answer = requests.post(f"{clean.url}/add", json={"array": [1, 2.5]}, timeout=30)
    assert answer.json() == [21.0, 22.5]
    assert requests.post(f"{clean.url}/add", json={"no": 1}, timeout=30).status_code == 422


def test_data_frames(clean):
    from ray.serve.http_adapters import pandas_read_json

    serve.run(
        PredictorDeployment.options(ray_actor_options={"num_cpus": 0.1}).bind(
            Adder, {"step": 1}, http_adapter=pandas_read_json, batching_params=False
        ),
        route_prefix="/frame",
    )
    answer = requests.post(f"{clean.url}/frame", json=[{"a": 1}, {"a": 2}], timeout=30)
    assert answer.json() == [{"a": 2}, {"a": 3}]


def test_old_names(clean):
    @serve.deployment(max_concurrent_queries=7, ray_actor_options={"num_cpus": 0.1}, route_prefix="/own")
    class Old:
        def __call__(self, request):
            return "old"

    assert Old.max_ongoing_requests == 7
    serve.run(Old.bind())
    assert requests.get(f"{clean.url}/own", timeout=30).text == "old"
    Old.options(name="Alone", route_prefix="/alone").deploy()
    assert requests.get(f"{clean.url}/alone", timeout=30).text == "old"
    handle = Old.options(name="Alone").get_handle()
    assert handle.remote(None).result(timeout_s=30) == "old"
