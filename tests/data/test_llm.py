"""Processors over real servers, deployments and tokenizers; engines only as far as they need no GPU."""

import base64
import http.server
import io
import json
import threading

import numpy as np
import pytest
import ray

pytest.importorskip("pydantic")
from ray.data.llm import (
    ChatTemplateStageConfig,
    HttpRequestProcessorConfig,
    ProcessorConfig,
    ServeDeploymentProcessorConfig,
    SGLangEngineProcessorConfig,
    build_processor,
    vLLMEngineProcessorConfig,
)


@pytest.fixture
def server():
    """A server that doubles numbers, after it has asked for patience once."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            seen.append((self.headers["Content-Type"], self.headers["X-Key"]))
            status = 503 if len(seen) == 1 else 200
            self.send_response(status)
            self.end_headers()
            if self.headers["Content-Type"] == "application/json":
                self.wfile.write(json.dumps({"double": json.loads(body)["n"] * 2}).encode())
            else:
                self.wfile.write(json.dumps({"double": len(body)}).encode())

        def log_message(self, *args):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.server_address[1]}/", seen
    made.shutdown()
    made.server_close()
    thread.join()


def test_http_requests(server):
    pytest.importorskip("aiohttp")
    url, seen = server
    config = HttpRequestProcessorConfig(
        url=url, headers={"X-Key": "secret"}, max_retries=2, base_retry_wait_time_in_s=0.01, batch_size=4
    )
    processor = build_processor(
        config,
        preprocess=lambda row: {"payload": {"n": row["id"]}},
        postprocess=lambda row: {"id": row["id"], "double": row["http_response"]["double"]},
    )
    assert processor.list_stage_names() == ["HttpRequestStage"]
    rows = processor(ray.data.range(10)).take_all()
    assert sorted((r["id"], r["double"]) for r in rows) == [(i, 2 * i) for i in range(10)]
    assert len(seen) == 11 and {key for _, key in seen} == {"secret"}


def test_http_requests_with_files_and_errors(server):
    pytest.importorskip("aiohttp")
    url, seen = server
    config = HttpRequestProcessorConfig(url=url, max_retries=1, base_retry_wait_time_in_s=0.01)
    form = build_processor(config, preprocess=lambda row: {"payload": {"file": b"abc", "note": "x"}})
    assert form(ray.data.range(1)).take(1)[0]["http_response"]["double"] > 3
    assert seen[-1][0].startswith("multipart/form-data")
    with pytest.raises(Exception, match="payload"):
        build_processor(config)(ray.data.range(1)).take_all()


def test_deployments():
    from ray import serve

    @serve.deployment
    class Model:
        def __call__(self, request):
            return {"text": request["prompt"].upper()}

        def strict(self, request):
            if request["prompt"] == "b":
                raise ValueError("not b")
            return request["prompt"]

    serve.run(Model.bind(), name="app", route_prefix=None)
    try:
        config = ServeDeploymentProcessorConfig(deployment_name="Model", app_name="app", batch_size=2)
        ask = lambda row: {"request_kwargs": {"prompt": row["p"]}}  # noqa: E731
        ds = ray.data.from_items([{"p": p} for p in "abc"])
        rows = build_processor(config, ask, lambda row: {"t": row["text"], "p": row["p"]})(ds).take_all()
        assert sorted((r["p"], r["t"]) for r in rows) == [("a", "A"), ("b", "B"), ("c", "C")]
        going_on = config.model_copy(update={"should_continue_on_error": True})
        strict = lambda row: {**ask(row), "method": "strict"}  # noqa: E731
        rows = build_processor(going_on, strict, lambda row: {"p": row["p"], "r": row["response"]})(
            ds
        ).take_all()
        failed = [r for r in rows if r.get("__inference_error__")]
        assert [r["p"] for r in failed] == ["b"] and "not b" in failed[0]["__inference_error__"]
        with pytest.raises(Exception, match="not b"):
            build_processor(config, strict)(ds).take_all()
    finally:
        serve.shutdown()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    """A tokenizer of words with a chat template, saved as models are."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = {w: i for i, w in enumerate(["[UNK]", "user", ":", "hello", "assistant", "world", "short"])}
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]")
    fast.chat_template = (
        "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
        "{% if add_generation_prompt %}assistant :{% endif %}"
    )
    folder = str(tmp_path_factory.mktemp("tokenizer"))
    fast.save_pretrained(folder)
    return folder


def test_prompts_and_tokens_there_and_back(tokenizer):
    from narke.data.llm import stages

    ask = [{"messages": [{"role": "user", "content": "hello"}]}]
    prompt = stages.ChatTemplates(tokenizer, None, None)(ask)[0]["prompt"]
    assert prompt == "user : hello assistant :"
    short = stages.ChatTemplates(tokenizer, "short", None)(ask)[0]["prompt"]
    assert short == "short"
    tokens = stages.Tokens(tokenizer)([{"prompt": prompt}])[0]["tokenized_prompt"]
    assert tokens == [1, 2, 3, 4, 2]
    assert stages.Texts(tokenizer)([{"generated_tokens": [3, 5]}])[0]["generated_text"].split() == [
        "hello",
        "world",
    ]


def test_stages_run_over_datasets(tokenizer):
    from narke.data.llm import config as configs
    from narke.data.llm import processor, stages

    template = processor.Stage(
        "T",
        stages.ChatTemplates,
        {"model": tokenizer, "template": None, "template_kwargs": None},
        configs.StageConfig(),
    )
    tokens = processor.Stage("K", stages.Tokens, {"model": tokenizer}, configs.StageConfig(batch_size=2))
    whole = processor.Processor(
        ProcessorConfig(batch_size=3, concurrency=(1, 2)),
        [template, tokens],
        lambda row: {"messages": [{"role": "user", "content": "hello"}]},
    )
    rows = whole(ray.data.range(5)).take_all()
    assert sorted(r["id"] for r in rows) == list(range(5))
    assert all(list(r["tokenized_prompt"]) == [1, 2, 3, 4, 2] for r in rows)
    assert whole.get_stage_by_name("K") is tokens
    with pytest.raises(ValueError, match="no stage"):
        whole.get_stage_by_name("Z")


def test_images_are_taken_out_of_messages():
    Image = pytest.importorskip("PIL.Image")
    from narke.data.llm import stages

    held = io.BytesIO()
    Image.fromarray(np.full((2, 3, 3), 7, np.uint8)).save(held, format="PNG")
    url = "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
    parts = [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": url}}]
    row = stages.TakeImages("string", False)([{"messages": [{"role": "user", "content": parts}]}])[0]
    assert row["messages"] == [{"role": "user", "content": "what?"}]
    assert row["multimodal_data"]["image"][0].shape == (2, 3, 3)
    row = stages.TakeImages("openai", False)([{"messages": [{"role": "user", "content": parts}]}])[0]
    assert [part["type"] for part in row["messages"][0]["content"]] == ["text", "image"]


def test_the_stages_of_engines():
    config = vLLMEngineProcessorConfig(
        model_source="m", chat_template_stage=ChatTemplateStageConfig(enabled=False), detokenize_stage=False
    )
    assert build_processor(config).list_stage_names() == ["TokenizeStage", "vLLMEngineStage"]
    assert build_processor(SGLangEngineProcessorConfig(model_source="m")).list_stage_names() == [
        "ChatTemplateStage", "TokenizeStage", "SGLangEngineStage", "DetokenizeStage",
    ]  # fmt: skip
    with pytest.raises(ImportError, match="pip install"):
        from narke.data.llm import engines

        engines.SGLang("m", {}, "generate", False)


def test_configurations_are_checked_and_read(tmp_path):
    with pytest.raises(ValueError, match="concurrency"):
        ProcessorConfig(concurrency=(3, 2))
    with pytest.raises(ValueError, match="task_type"):
        SGLangEngineProcessorConfig(model_source="m", task_type="embed")
    with pytest.raises(ValueError, match="bundles"):
        vLLMEngineProcessorConfig(model_source="m", placement_group_config={})
    with pytest.raises(ValueError):
        ProcessorConfig(nonsense=1)
    assert ProcessorConfig(concurrency=4).get_concurrency() == {"min_size": 1, "max_size": 4}
    assert ProcessorConfig(concurrency=4).get_concurrency(False) == {"size": 4}
    pytest.importorskip("yaml")
    (tmp_path / "c.yaml").write_text("url: http://x\nqps: 3\n")
    assert HttpRequestProcessorConfig.from_file(str(tmp_path / "c.yaml")).qps == 3
    with pytest.raises(TypeError, match="no processor"):
        build_processor(ProcessorConfig())
