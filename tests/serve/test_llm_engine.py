"""The engine without a cluster: prompts that are known already, prompts read elsewhere, sleep, profiles, scores."""

import asyncio
import json

import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")

import tiny_models  # noqa: E402

from narke.serve.llm import LLMConfig, LLMServer  # noqa: E402
from narke.serve.llm._private.callbacks import CallbackBase  # noqa: E402
from narke.serve.llm._private.sampling import Sampling  # noqa: E402
from narke.serve.llm._private.transformers_engine import TransformersEngine  # noqa: E402
from narke.serve.llm.openai_api_models import CompletionRequest, ScoreRequest  # noqa: E402

LONG = "the quick brown fox jumps over the lazy dog the quick brown fox "
GREEDY = Sampling(max_tokens=12, temperature=0, ignore_eos=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_models.causal(tmp_path_factory.mktemp("causal"))


@pytest.fixture
def engine(folder):
    made = TransformersEngine(folder, None, {})
    yield made
    made.stop()


async def text_of(engine, prompt, prefilled=None, sampling=GREEDY):
    tokens = engine.tokenizer.encode(prompt)
    return "".join([piece.text async for piece in engine.generate(tokens, sampling, prefilled=prefilled)])


def alone(folder, prompt):
    """What generate() of transformers makes of it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    ids = torch.tensor([tokenizer.encode(prompt)])
    made = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=12,
        min_new_tokens=12,
        do_sample=False,
        pad_token_id=0,
    )
    return tokenizer.decode(made[0][ids.shape[1] :], skip_special_tokens=True)


class TestPrefixes:
    def test_a_known_beginning_is_not_read_again(self, engine, folder):
        prompts = [LONG + end for end in ("hello", "world", "hello world")]

        async def all_texts():
            first = await text_of(engine, prompts[0])
            return [first, *await asyncio.gather(*(text_of(engine, each) for each in prompts[1:]))]

        assert asyncio.run(all_texts()) == [alone(folder, prompt) for prompt in prompts]
        known = engine.figures()["prompt_tokens_known"]
        assert known >= 2 * len(engine.tokenizer.encode(LONG))
        asyncio.run(engine.reset_prefix_cache())
        asyncio.run(text_of(engine, prompts[0]))
        assert engine.figures()["prompt_tokens_known"] == known

    def test_it_can_be_left_out(self, folder):
        engine = TransformersEngine(folder, None, {"enable_prefix_caching": False})
        texts = [asyncio.run(text_of(engine, LONG)) for _ in range(2)]
        engine.stop()
        assert texts[0] == texts[1] and engine.figures()["prompt_tokens_known"] == 0

    def test_the_oldest_prompts_give_way(self):
        from narke.serve.llm._private.prefixes import PrefixCache

        cache = PrefixCache(50)
        layers = [(torch.zeros(1, 20, 2), torch.zeros(1, 20, 2))]
        for first in (100, 200, 300):
            cache.put("", list(range(first, first + 20)), layers)
        assert cache.size == 40
        assert cache.match("", [*range(100, 120), 1]) is None
        assert cache.match("", [*range(300, 318), 1, 2])[0][0].shape == (1, 18, 2)
        assert cache.match("other adapter", [*range(300, 320), 1]) is None


def test_a_prompt_that_another_engine_has_read(engine, folder):
    other = TransformersEngine(folder, None, {})

    async def run():
        read = await other.prefill(engine.tokenizer.encode(LONG))
        together = [
            text_of(engine, LONG, prefilled=read),
            text_of(engine, "hello"),
            text_of(engine, LONG + "dog"),
        ]
        return await asyncio.gather(*together)

    got = asyncio.run(run())
    other.stop()
    assert got == [alone(folder, LONG), alone(folder, "hello"), alone(folder, LONG + "dog")]


class Noted(CallbackBase):
    def __init__(self, *, notes, **kwargs):
        super().__init__(**kwargs)
        self.notes = notes

    async def on_before_node_init(self):
        self.notes.append("before")

    def on_after_node_init(self):
        self.notes.append(self.llm_config.model_architecture)


def server_of(folder, **fields):
    config = LLMConfig(model_loading_config={"model_id": "tiny", "model_source": folder}, **fields)
    return LLMServer(config, engine_cls=lambda given: TransformersEngine(folder, None, given.engine_kwargs))


async def completed(server, prompt=LONG):
    request = CompletionRequest(prompt=prompt, max_tokens=8, temperature=0)
    answers = [answer async for answer in server.completions(request)]
    return answers[0].choices[0]["text"]


class TestControl:
    def test_callbacks_run_before_and_after_the_model_is_loaded(self, folder):
        notes = []
        server = server_of(
            folder, callback_config={"callback_class": Noted, "callback_kwargs": {"notes": notes}}
        )
        assert notes == ["before", "GPT2LMHeadModel"]
        config = asyncio.run(server.llm_config())
        assert config.input_modality == "text" and not config.supports_vision

    def test_a_callback_that_fails(self, folder):
        class Broken(CallbackBase):
            async def on_before_node_init(self):
                raise OSError("no disk")

        with pytest.raises(RuntimeError, match="no disk"):
            server_of(folder, callback_config={"callback_class": Broken})
        server_of(folder, callback_config={"callback_class": Broken, "raise_error_on_callback": False})

    def test_requests_wait_while_it_sleeps(self, folder):
        async def run():
            server = server_of(folder)
            before = await completed(server)
            await server.sleep(level=2)
            assert await server.is_sleeping() and server._engine._model is None
            waiting = asyncio.ensure_future(completed(server))
            await server.pause()
            await server.wakeup()
            assert not await server.is_sleeping() and await server.is_paused() and not waiting.done()
            await server.resume()
            return before, await waiting

        before, after = asyncio.run(run())
        assert before == after

    def test_methods_of_the_model(self, folder):
        async def run():
            server = server_of(folder)
            with pytest.raises(AttributeError, match="has no method 'fly'"):
                await server.collective_rpc("fly")
            return await server.collective_rpc("num_parameters", kwargs={"only_trainable": False})

        assert asyncio.run(run())[0] > 1000

    def test_a_profile(self, folder, tmp_path, monkeypatch):
        monkeypatch.setenv("VLLM_TORCH_PROFILER_DIR", str(tmp_path))

        async def run():
            server = server_of(folder)
            await server.start_profile()
            await completed(server)
            await server.stop_profile()
            assert (await server.record_routing_stats())["prompt_tokens"] > 0

        asyncio.run(run())
        (trace,) = tmp_path.iterdir()
        assert any(
            "addmm" in str(event.get("name")) for event in json.loads(trace.read_text())["traceEvents"]
        )


def scores_of(server, first, second):
    async def run():
        request = ScoreRequest(text_1=first, text_2=second)
        return [answer async for answer in server.score(request)][0]

    return asyncio.run(run())


class TestScores:
    def test_by_embeddings(self, tmp_path):
        server = server_of(tiny_models.encoder(tmp_path))
        answer = scores_of(server, "the fox", ["the fox", "hello world"])
        assert answer.data[0]["score"] == pytest.approx(1, abs=1e-4) and answer.data[1]["score"] < 0.999
        assert answer.usage.prompt_tokens == 3 * 4
        assert "one with many" in scores_of(server, ["a", "b"], ["a", "b", "c"]).error.message

    def test_by_a_model_that_judges_pairs(self, tmp_path):
        server = server_of(tiny_models.judge(tmp_path))
        answer = scores_of(server, "the fox", ["the dog", "hello world"])
        scores = [each["score"] for each in answer.data]
        assert all(0 < score < 1 for score in scores) and scores[0] != scores[1]


class TestConfigs:
    def config(self, **fields):
        return LLMConfig(model_loading_config={"model_id": "tiny"}, **fields)

    def test_a_connector(self):
        config = self.config(engine_kwargs={"kv_transfer_config": {"kv_connector": "NixlConnector"}})
        assert config.kv_connector_backend is None
        config.setup_engine_backend()
        assert (config.kv_connector_backend.name, config.kv_connector_backend.role) == (
            "NixlConnector",
            "kv_both",
        )
        with pytest.raises(ValueError, match="Connector type is not specified"):
            self.config(engine_kwargs={"kv_transfer_config": {}}).setup_engine_backend()

    def test_adapters(self):
        assert self.config().multiplex_config() is None
        held = self.config(lora_config={"max_num_adapters_per_replica": 3}).multiplex_config()
        assert held.max_num_models_per_replica == 3

    def test_what_the_engine_is_told(self):
        given = self.config(
            accelerator_type="A10", engine_kwargs={"tensor_parallel_size": 2, "max_model_len": 9}
        )
        assert given.accelerator_type == "A10G" and given.max_request_context_length == 9
        assert given.get_engine_config().gpus == 2 and given.get_engine_config().source == "tiny"

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"accelerator_type": "ABACUS"}, "Unsupported accelerator type"),
            ({"experimental_configs": {"num_router_replicas": 2}}, "num_ingress_replicas"),
            ({"callback_config": {"class": "x"}}, "class"),
        ],
    )
    def test_refusals(self, fields, message):
        with pytest.raises(ValueError, match=message):
            self.config(**fields)

    def test_a_model_without_a_config(self, tmp_path):
        with pytest.raises(ValueError, match="has no config of a model"):
            self.config().apply_checkpoint_info(str(tmp_path))
