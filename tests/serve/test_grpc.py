"""gRPC: users' services routed to deployments, metadata, streams both ways, Serve's own service, errors."""

import asyncio

import pytest

grpc = pytest.importorskip("grpc")
pytest.importorskip("google.protobuf")

import ray  # noqa: E402
from conftest import free_port  # noqa: E402
from grpc_words_pb2 import Answer, Question  # noqa: E402
from grpc_words_pb2_grpc import WordsStub  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.generated import serve_pb2  # noqa: E402
from ray.serve.generated.serve_pb2_grpc import RayServeAPIServiceStub  # noqa: E402

LIMIT_S = 30


@serve.deployment(ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=20)
class Words:
    def __init__(self, name="words"):
        self.name = name
        self.cancelled = 0

    def Ask(self, question):
        return Answer(text=f"{self.name}: {question.text}", number=question.number + 1)

    @serve.multiplexed(max_num_models_per_replica=2)
    async def load(self, model_id):
        return model_id.upper()

    async def Model(self, question):
        return Answer(text=await self.load(serve.get_multiplexed_model_id()))

    async def Refuse(self, question, grpc_context):
        grpc_context.set_code(grpc.StatusCode.OUT_OF_RANGE)
        grpc_context.set_details(f"not {question.text}")
        grpc_context.set_trailing_metadata([("why", "range")])
        return Answer(text=grpc_context.request_id() or "")

    async def Break(self, question):
        raise KeyError(question.text)

    async def Slow(self, question):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def how_many_cancelled(self):
        return self.cancelled

    def Count(self, question):
        for number in range(question.number):
            yield Answer(number=number)

    async def BreakLater(self, question):
        yield Answer(number=1)
        raise RuntimeError("half way")

    async def Sum(self, stream):
        return Answer(number=sum([question.number async for question in stream]))

    async def Echo(self, stream):
        async for question in stream:
            yield Answer(text=question.text[::-1])


class Client:
    def __init__(self, port):
        self.port = port
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self.words = WordsStub(self.channel)
        self.serve = RayServeAPIServiceStub(self.channel)


@pytest.fixture(scope="module")
def client():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    port = free_port()
    serve.start(
        proxy_location="HeadOnly",
        http_options={"port": free_port()},
        grpc_options={
            "port": port,
            "grpc_servicer_functions": ["grpc_words_pb2_grpc.add_WordsServicer_to_server"],
            "request_timeout_s": 20,
        },
    )
    serve.run(Words.bind(), name="one", route_prefix="/one")
    made = Client(port)
    yield made
    made.channel.close()
    serve.shutdown()
    ray.shutdown()


@pytest.fixture
def two(client):
    serve.run(Words.bind("other"), name="two", route_prefix="/two")
    yield client
    serve.delete("two")


def error_of(call):
    with pytest.raises(grpc.RpcError) as caught:
        list(call) if hasattr(call, "__next__") else call()
    return caught.value


class TestMethods:
    def test_single(self, client):
        answer = client.words.Ask(Question(text="hello", number=1), timeout=LIMIT_S)
        assert (answer.text, answer.number) == ("words: hello", 2)

    def test_server_streams(self, client):
        answers = client.words.Count(Question(number=200), timeout=LIMIT_S)
        assert [answer.number for answer in answers] == list(range(200))

    def test_client_streams(self, client):
        questions = (Question(number=number) for number in range(100))
        assert client.words.Sum(questions, timeout=LIMIT_S).number == sum(range(100))

    def test_both_stream(self, client):
        texts = [f"text {number}" for number in range(50)]
        answers = client.words.Echo((Question(text=text) for text in texts), timeout=LIMIT_S)
        assert [answer.text for answer in answers] == [text[::-1] for text in texts]

    def test_large_messages(self, client):
        text = "x" * (1 << 20)
        assert client.words.Ask(Question(text=text), timeout=LIMIT_S).text == f"words: {text}"


class TestMetadata:
    def test_application(self, two):
        for app, name in (("one", "words"), ("two", "other")):
            answer = two.words.Ask(Question(text="x"), metadata=(("application", app),), timeout=LIMIT_S)
            assert answer.text == f"{name}: x"

    def test_an_application_must_be_named_where_there_are_two(self, two):
        error = error_of(lambda: two.words.Ask(Question(), timeout=LIMIT_S))
        assert error.code() == grpc.StatusCode.NOT_FOUND
        assert "ListApplications" in error.details()

    def test_unknown_application(self, client):
        metadata = (("application", "none"),)
        error = error_of(lambda: client.words.Ask(Question(), metadata=metadata, timeout=LIMIT_S))
        assert error.code() == grpc.StatusCode.NOT_FOUND and "'none'" in error.details()

    def test_multiplexed_model(self, client):
        metadata = (("multiplexed_model_id", "small"),)
        assert client.words.Model(Question(), metadata=metadata, timeout=LIMIT_S).text == "SMALL"

    def test_request_id_comes_back(self, client):
        metadata = (("request_id", "r-1"),)
        _, call = client.words.Ask.with_call(Question(), metadata=metadata, timeout=LIMIT_S)
        assert ("request_id", "r-1") in [(each.key, each.value) for each in call.trailing_metadata()]


class TestErrors:
    def test_a_method_sets_status_details_and_trailing_metadata(self, client):
        error = error_of(lambda: client.words.Refuse(Question(text="five"), timeout=LIMIT_S))
        assert error.code() == grpc.StatusCode.OUT_OF_RANGE and error.details() == "not five"
        assert ("why", "range") in [(each.key, each.value) for each in error.trailing_metadata()]

    def test_an_exception_is_internal_without_a_traceback(self, client):
        error = error_of(lambda: client.words.Break(Question(text="key"), timeout=LIMIT_S))
        assert error.code() == grpc.StatusCode.INTERNAL
        assert error.details() == "KeyError: 'key'"

    def test_a_stream_that_breaks_gives_what_it_had(self, client):
        answers = client.words.BreakLater(Question(), timeout=LIMIT_S)
        assert next(answers).number == 1
        assert error_of(answers).code() == grpc.StatusCode.INTERNAL

    def test_an_unknown_method(self, client):
        call = client.channel.unary_unary("/words.Words/Nothing")
        assert error_of(lambda: call(b"", timeout=LIMIT_S)).code() == grpc.StatusCode.UNIMPLEMENTED

    def test_a_clients_deadline_cancels_the_call(self, client):
        from waiting import wait_for

        error = error_of(lambda: client.words.Slow(Question(), timeout=0.5))
        assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        handle = serve.get_app_handle("one")
        wait_for(lambda: handle.how_many_cancelled.remote().result() == 1, what="the method is cancelled")


class TestOwnService:
    def test_applications_are_listed(self, two):
        listed = two.serve.ListApplications(serve_pb2.ListApplicationsRequest(), timeout=LIMIT_S)
        assert list(listed.application_names) == ["one", "two"]

    def test_health(self, client):
        assert client.serve.Healthz(serve_pb2.HealthzRequest(), timeout=LIMIT_S).message == "success"
        standard = client.channel.unary_unary("/grpc.health.v1.Health/Check")
        assert standard(b"", timeout=LIMIT_S) == b"\x08\x01"


def test_a_taken_port_is_told(client):
    from narke.serve._private.grpc_proxy import GrpcServer

    async def start_on_the_same():
        await GrpcServer({"port": client.port, "grpc_servicer_functions": []}, "127.0.0.1").start()

    with pytest.raises(RuntimeError, match="grpc_options"):
        asyncio.run(start_on_the_same())
