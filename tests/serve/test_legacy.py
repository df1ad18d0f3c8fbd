"""Programs of former releases."""

import pytest
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


def test_graphs_of_calls(clean):
    from ray.serve.dag import InputNode
    from ray.serve.drivers import DAGDriver
    from ray.serve.http_adapters import json_request

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Times:
        def __init__(self, factor):
            self.factor = factor
            self.calls = 0

        def forward(self, value):
            self.calls += 1
            return self.factor * value

        def count(self, value):
            return self.calls

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    def combine(first, second, both):
        return {"sum": first + second, "both": both}

    with InputNode() as inp:
        shared = Times.bind(10).forward.bind(inp["b"])
        graph = combine.bind(Times.bind(2).forward.bind(inp["a"]), shared, [shared, inp["a"]])
    driver = DAGDriver.options(ray_actor_options={"num_cpus": 0.1})
    handle = serve.run(driver.bind(graph, http_adapter=json_request), route_prefix="/dag")
    answer = requests.post(f"{clean.url}/dag", json={"a": 1, "b": 2}, timeout=30)
    assert answer.json() == {"sum": 22, "both": [20, 1]}
    assert handle.predict.remote({"a": 3, "b": 0}).result(timeout_s=30)["sum"] == 6


def test_several_graphs_by_path(clean):
    from ray.serve.dag import InputNode
    from ray.serve.drivers import DAGDriver
    from ray.serve.http_adapters import json_request

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Model:
        def low(self, text):
            return text.lower()

        def high(self, text):
            return text.upper()

    model = Model.bind()
    with InputNode() as inp:
        graphs = {"/low": model.low.bind(inp), "/high": model.high.bind(inp)}
    driver = DAGDriver.options(ray_actor_options={"num_cpus": 0.1})
    serve.run(driver.bind(graphs, http_adapter=json_request), route_prefix="/text")
    for path, text in (("low", "mixed"), ("high", "MIXED")):
        assert requests.post(f"{clean.url}/text/{path}", json="MiXed", timeout=30).json() == text
    assert requests.post(f"{clean.url}/text/none", json="x", timeout=30).status_code == 404


def test_gradio(clean):
    gradio = pytest.importorskip("gradio")
    from ray.serve.gradio_integrations import GradioServer

    def build():
        return gradio.Interface(lambda text: text[::-1], "textbox", "textbox", api_name="turn")

    serve.run(GradioServer.options(ray_actor_options={"num_cpus": 0.1}).bind(build), route_prefix="/")
    assert "gradio" in requests.get(f"{clean.url}/", timeout=30).text
    begun = requests.post(f"{clean.url}/gradio_api/call/turn", json={"data": ["abc"]}, timeout=30)
    event = begun.json()["event_id"]
    text = requests.get(f"{clean.url}/gradio_api/call/turn/{event}", timeout=30).text
    assert '["cba"]' in text


STREAMLIT = """
import streamlit
from ray import serve

@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Double:
    def __call__(self, number):
        return 2 * number

@streamlit.cache_resource
def model():
    return serve.run(Double.bind(), name="double", route_prefix="/double")

number = streamlit.number_input("number", value=3)
if streamlit.button("ask"):
    streamlit.write("answer", model().remote(int(number)).result(timeout_s=30))
"""


def test_a_streamlit_script(clean):
    """It deploys once, and each of its runs, in a thread of Streamlit's, asks the handle."""
    testing = pytest.importorskip("streamlit.testing.v1")
    app = testing.AppTest.from_string(STREAMLIT, default_timeout=60).run()
    for number in (3, 10):
        app.number_input[0].set_value(number).run()
        app.button[0].click().run()
        assert not app.exception and [each.value for each in app.markdown] == [f"answer `{2 * number}`"]
