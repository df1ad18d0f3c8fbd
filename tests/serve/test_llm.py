"""Language models: batches against transformers' own generate(), the OpenAI interface, adapters, prefix routing."""

import asyncio
import base64
import struct

import pytest

transformers = pytest.importorskip("transformers")
torch = pytest.importorskip("torch")
pytest.importorskip("tokenizers")
openai = pytest.importorskip("openai")

import requests  # noqa: E402
import tiny_models  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.llm import (  # noqa: E402
    LLMConfig,
    LLMServingArgs,
    build_dp_openai_app,
    build_openai_app,
    build_pd_openai_app,
)

from narke.serve.llm._private.sampling import Sampling, choose  # noqa: E402

PROMPTS = ["the quick brown", "hello", "the lazy dog jumps over the fox", "user : hello world"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("models")
    made = {"causal": tiny_models.causal(base / "causal"), "encoder": tiny_models.encoder(base / "encoder")}
    made["adapters"] = base / "adapters"
    return made


class TestChoice:
    LOGITS = torch.tensor([0.0, 1.0, 2.0, 3.0])

    def test_without_heat_it_is_the_likeliest(self):
        assert choose(self.LOGITS, Sampling(temperature=0), {}, None) == 3

    def test_penalties_count(self):
        assert choose(self.LOGITS, Sampling(temperature=0, frequency_penalty=1.0), {3: 2}, None) == 2

    def test_top_k_and_top_p_bound_the_choice(self):
        for sampling in (Sampling(top_k=1), Sampling(top_p=0.5)):
            assert {choose(self.LOGITS, sampling, {}, None) for _ in range(20)} == {3}

    def test_a_seed_repeats(self):
        def some():
            generator = torch.Generator().manual_seed(5)
            return [choose(self.LOGITS, Sampling(), {}, generator) for _ in range(20)]

        assert some() == some() and len(set(some())) > 1


def test_texts_that_join_and_leave_are_those_of_one_at_a_time(folders):
    """Rows of different lengths, started at different times, with different ends: as generate() does each alone."""
    from narke.serve.llm._private.transformers_engine import TransformersEngine

    engine = TransformersEngine(folders["causal"], None, {"max_num_seqs": 3})
    model = transformers.AutoModelForCausalLM.from_pretrained(folders["causal"])
    encoded = [engine.tokenizer.encode(text) for text in PROMPTS * 2]
    lengths = [3, 17, 8, 25, 1, 12, 30, 5]

    async def text(number):
        await asyncio.sleep(0.003 * number)
        sampling = Sampling(max_tokens=lengths[number], temperature=0, ignore_eos=True)
        return "".join([piece.text async for piece in engine.generate(encoded[number], sampling)])

    async def all_texts():
        return await asyncio.gather(*(text(number) for number in range(len(encoded))))

    got = asyncio.run(all_texts())
    engine.stop()
    for number, prompt in enumerate(encoded):
        ids = torch.tensor([prompt])
        alone = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=lengths[number],
            min_new_tokens=lengths[number],
            do_sample=False,
            pad_token_id=0,
            suppress_tokens=None,
        )
        wanted = engine.tokenizer.decode(alone[0][len(prompt) :], skip_special_tokens=True)
        assert got[number] == wanted, number


@pytest.fixture(scope="module")
def client(served, folders):
    has_peft = True
    try:
        for name in ("loud", "quiet"):
            tiny_models.adapter(folders["causal"], folders["adapters"] / name)
    except ImportError:
        has_peft = False
    small = {"ray_actor_options": {"num_cpus": 0.5}}
    causal = LLMConfig(
        model_loading_config={"model_id": "tiny", "model_source": folders["causal"]},
        lora_config={
            "dynamic_lora_loading_path": str(folders["adapters"]),
            "max_num_adapters_per_replica": 1,
        },
        deployment_config=small,
    )
    encoder = {
        "model_loading_config": {"model_id": "vectors", "model_source": folders["encoder"]},
        "deployment_config": small,
    }
    app = build_openai_app(LLMServingArgs(llm_configs=[causal, encoder]))
    serve.run(app, name="llm", route_prefix="/")
    made = openai.OpenAI(base_url=f"{served.url}/v1", api_key="none", max_retries=0, timeout=60)
    made.has_peft = has_peft
    yield made
    serve.delete("llm")


def ask(client, **options):
    messages = [{"role": "user", "content": "hello world"}]
    return client.chat.completions.create(
        **{"model": "tiny", "messages": messages, "temperature": 0, "max_tokens": 8, **options}
    )


class TestOpenAI:
    def test_models(self, client):
        assert [model.id for model in client.models.list()] == ["tiny", "vectors"]
        assert client.models.retrieve("tiny").id == "tiny"

    def test_chat(self, client):
        answer = ask(client)
        assert answer.choices[0].message.role == "assistant"
        assert answer.choices[0].finish_reason in ("stop", "length")
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens

    def test_a_stream_is_the_same_text(self, client):
        chunks = list(ask(client, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == ask(client).choices[0].message.content
        assert chunks[-1].usage.completion_tokens <= 8
        assert chunks[-2].choices[0].finish_reason in ("stop", "length")

    def test_several_choices(self, client):
        answer = ask(client, n=3, temperature=1, seed=4)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]

    def test_completions_of_several_prompts(self, client):
        answer = client.completions.create(
            model="tiny", prompt=["the quick", "the lazy"], max_tokens=5, temperature=0, echo=True
        )
        for choice, prompt in zip(answer.choices, ("the quick", "the lazy"), strict=True):
            assert choice.text.startswith(prompt)
        one = client.completions.create(model="tiny", prompt="the quick", max_tokens=5, temperature=0)
        assert answer.choices[0].text == "the quick" + one.choices[0].text

    def test_a_completion_streams(self, client):
        options = {"model": "tiny", "prompt": "the quick", "max_tokens": 6, "temperature": 0}
        whole = client.completions.create(**options).choices[0].text
        assert "".join(c.choices[0].text for c in client.completions.create(stream=True, **options)) == whole

    def test_embeddings(self, client):
        answer = client.embeddings.create(
            model="vectors", input=["hello world", "the fox"], encoding_format="float"
        )
        vectors = [item.embedding for item in answer.data]
        assert [len(vector) for vector in vectors] == [16, 16]
        assert sum(x * x for x in vectors[0]) == pytest.approx(1, abs=1e-4)
        alone = client.embeddings.create(model="vectors", input="the fox", encoding_format="base64")
        packed = base64.b64decode(alone.data[0].embedding)
        assert struct.unpack("<16f", packed) == pytest.approx(vectors[1], abs=1e-4)

    def test_tokens(self, client, served):
        taken = requests.post(
            f"{served.url}/tokenize", json={"model": "tiny", "prompt": "the fox"}, timeout=30
        )
        assert taken.json()["count"] == 3  # with the space
        body = {"model": "tiny", "tokens": taken.json()["tokens"]}
        assert requests.post(f"{served.url}/detokenize", json=body, timeout=30).json()["prompt"] == "the fox"

    def test_many_at_once(self, client):
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(16) as pool:
            texts = list(pool.map(lambda _: ask(client).choices[0].message.content, range(32)))
        assert set(texts) == {ask(client).choices[0].message.content}


class TestRefusals:
    def test_unknown_model(self, client):
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            ask(client, model="other")

    def test_too_long(self, client):
        with pytest.raises(openai.BadRequestError, match="maximum context length is 128"):
            client.completions.create(model="tiny", prompt="the " * 200)

    @pytest.mark.parametrize(
        "options", [{"temperature": -1}, {"max_tokens": 0}, {"n": 0}, {"logprobs": True}]
    )
    def test_wrong_options(self, client, options):
        with pytest.raises(openai.BadRequestError):
            ask(client, **options)

    def test_a_token_outside_of_the_vocabulary(self, client):
        with pytest.raises(openai.BadRequestError, match="vocabulary"):
            client.completions.create(model="tiny", prompt=[1, 10**6])

    def test_text_of_an_encoder(self, client):
        with pytest.raises(openai.BadRequestError, match="embeddings only"):
            ask(client, model="vectors")

    @pytest.mark.parametrize("name", ["tiny:none", "tiny:../causal", "tiny:", "vectors:loud"])
    def test_unknown_adapters(self, client, name):
        with pytest.raises(openai.NotFoundError):
            ask(client, model=name)


def test_adapters_change_the_text_and_give_way(client):
    if not client.has_peft:
        pytest.skip("peft is not installed")
    base = ask(client)
    texts = {name: ask(client, model=name).choices[0].message.content for name in ("tiny:loud", "tiny:quiet")}
    assert len({base.choices[0].message.content, *texts.values()}) == 3
    # a replica keeps one of them: the first comes back as it was
    assert ask(client, model="tiny:loud").choices[0].message.content == texts["tiny:loud"]
    assert ask(client).choices[0].message.content == base.choices[0].message.content


class TestPromptsReadElsewhere:
    def test_texts_are_those_of_one_replica(self, served, client, folders):
        adapters = {"lora_config": {"dynamic_lora_loading_path": str(folders["adapters"])}}
        one = {
            "model_loading_config": {"model_id": "tiny", "model_source": folders["causal"]},
            "deployment_config": {"ray_actor_options": {"num_cpus": 0.2}, "num_replicas": 2},
            "engine_kwargs": {"kv_transfer_config": {"kv_connector": "NixlConnector"}},
            **adapters,
        }
        args = {
            "prefill_config": one,
            "decode_config": one,
            "ingress_deployment_config": {"name": "Front", "ray_actor_options": {"num_cpus": 0}},
        }
        serve.run(build_pd_openai_app(args), name="apart", route_prefix="/apart")
        apart = openai.OpenAI(base_url=f"{served.url}/apart/v1", api_key="none", max_retries=0, timeout=60)
        assert ask(apart).choices[0].message.content == ask(client).choices[0].message.content
        assert len({choice.message.content for choice in ask(apart, n=2).choices}) == 1
        if client.has_peft:
            named = {"model": "tiny:loud"}
            assert ask(apart, **named).choices[0].message == ask(client, **named).choices[0].message
        with pytest.raises(openai.NotFoundError):
            ask(apart, model="tiny:none")
        prefill = serve.get_deployment_handle("Prefill:tiny", "apart")
        facts = prefill.record_replica_metadata.remote().result()
        assert facts == {"model_id": "tiny", "role": "prefill", "kv_connector": "NixlConnector"}
        assert prefill.record_routing_stats.remote().result()["prompt_tokens"] > 0
        serve.delete("apart")

    def test_both_have_one_model(self):
        configs = [{"model_loading_config": {"model_id": name}} for name in ("a", "b")]
        with pytest.raises(ValueError, match="model id mismatch"):
            build_pd_openai_app({"prefill_config": configs[0], "decode_config": configs[1]})


def test_ranks_of_a_gang_answer_as_one_replica(served, client, folders):
    config = {
        "model_loading_config": {"model_id": "tiny", "model_source": folders["causal"]},
        "deployment_config": {"ray_actor_options": {"num_cpus": 0.2}},
        "engine_kwargs": {"data_parallel_size": 2},
    }
    front = {"name": "Front", "ray_actor_options": {"num_cpus": 0}}
    app = build_dp_openai_app({"llm_config": config, "ingress_deployment_config": front})
    serve.run(app, name="ranks", route_prefix="/ranks")
    ranks = openai.OpenAI(base_url=f"{served.url}/ranks/v1", api_key="none", max_retries=0, timeout=60)
    assert ask(ranks).choices[0].message.content == ask(client).choices[0].message.content
    handle = serve.get_deployment_handle("DPServer:tiny", "ranks")
    told = {}
    for response in [handle.llm_config.remote() for _ in range(40)]:
        kwargs = response.result().engine_kwargs
        told[kwargs["data_parallel_rank"]] = kwargs["data_parallel_address"], kwargs["data_parallel_rpc_port"]
    assert sorted(told) == [0, 1] and told[0] == told[1]
    serve.delete("ranks")
    with pytest.raises(ValueError, match="data_parallel_size"):
        build_dp_openai_app({"llm_config": {**config, "engine_kwargs": {"data_parallel_size": 0}}})


def test_prompts_with_one_beginning_go_to_one_replica(served, folders):
    from ray.serve.config import RequestRouterConfig

    from narke.serve.llm import LLMServer
    from narke.serve.llm.openai_api_models import CompletionRequest

    class Named(LLMServer):
        async def completions(self, request, raw_request_info=None):
            yield serve.get_replica_context().replica_id.unique_id

    config = LLMConfig(model_loading_config={"model_id": "tiny", "model_source": folders["causal"]})
    routing = RequestRouterConfig(
        request_router_class="narke.serve.llm.request_router:PrefixCacheAffinityRouter"
    )
    app = serve.deployment(Named).options(
        num_replicas=2, request_router_config=routing, ray_actor_options={"num_cpus": 0.2}
    )
    handle = serve.run(app.bind(config), name="near", route_prefix=None).options(stream=True)

    def who(text):
        return list(handle.completions.remote(CompletionRequest(prompt=text)))[0]

    fox = {who("the quick brown fox " + word) for word in tiny_models.WORDS}
    dog = {who("hello lazy dog, how are you " + word) for word in tiny_models.WORDS}
    serve.delete("near")
    assert len(fox) == len(dog) == 1 and fox != dog
