"""Requests over HTTP: what handlers get, and what clients are answered."""

import asyncio
import json
import socket
import threading
import time

import pytest
import requests
from fastapi import APIRouter, FastAPI, WebSocket, WebSocketDisconnect
from pydantic import BaseModel
from ray import serve
from ray.serve.exceptions import BackPressureError
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from websockets.sync.client import connect

app = FastAPI()


class Numbers(BaseModel):
    data: list[float]


@serve.deployment(max_ongoing_requests=100)
@serve.ingress(app)
class Api:
    def __init__(self):
        self.factor = 2

    @app.post("/sum")
    async def sum(self, numbers: Numbers):
        return {"sum": sum(numbers.data) * self.factor}

    @app.get("/plain/{name}")
    def plain(self, name: str, q: int = 0):
        return f"{name} {q}"

    @app.post("/size")
    async def size(self, request: Request):
        total = 0
        async for part in request.stream():
            total += len(part)
        return total

    @app.get("/large")
    async def large(self, size: int):
        return StreamingResponse(b"x" * 50_000 for _ in range(size // 50_000))

    @app.get("/boom")
    async def boom(self):
        raise ValueError("the secret")

    @app.websocket("/ws")
    async def ws(self, socket: WebSocket):
        await socket.accept()
        while True:
            text = await socket.receive_text()
            if text == "end":
                return await socket.close(4001, "as asked")
            await socket.send_text(text.upper())


@serve.deployment(max_ongoing_requests=20)
class Anything:
    def __init__(self):
        self.slow = 0
        self.cancelled = 0

    async def __call__(self, request: Request):
        kind = request.query_params.get("kind", "")
        if kind == "json":
            return {"a": [1, None, "ü"]}
        if kind == "bytes":
            return b"\x00\xff"
        if kind == "none":
            return None
        if kind == "response":
            return JSONResponse({"x": 1}, status_code=201, headers={"x-own": "1"})
        if kind == "generator":
            return self.parts()
        if kind == "many":
            return StreamingResponse(b"%d\n" % i for i in range(1000))
        if kind == "paused":
            return self.paused_parts()
        if kind == "large":
            return "y" * 1_000_000
        if kind == "echo":
            return await request.body()
        if kind == "headers":
            return dict(request.headers)
        if kind == "path":
            return request.url.path
        if kind == "evil":
            return JSONResponse({}, headers={"x": "a\r\nset-cookie: evil"})
        if kind == "cancelled":
            return self.cancelled
        if kind == "begun":
            return self.slow
        if kind == "slow":
            self.slow += 1
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        return "hello"

    async def paused_parts(self):
        yield "one\n"
        yield "two\n"
        await asyncio.sleep(60)

    async def parts(self):
        for i in range(3):
            yield f"part {i}\n"


@pytest.fixture(scope="module", autouse=True)
def apps(served):
    serve.run(Api.bind(), name="api", route_prefix="/api")
    serve.run(Anything.bind(), name="any", route_prefix="/")


def ask(served, kind, **options):
    return requests.get(f"{served.url}/?kind={kind}", timeout=30, **options)


class TestAnswers:
    @pytest.mark.parametrize(
        "kind, body, content_type",
        [
            ("", b"hello", "text/plain; charset=utf-8"),
            ("json", '{"a":[1,null,"ü"]}'.encode(), "application/json"),
            ("bytes", b"\x00\xff", "text/plain"),
            ("none", b"", "text/plain"),
            ("generator", b"part 0\npart 1\npart 2\n", "text/plain; charset=utf-8"),
            ("large", b"y" * 1_000_000, "text/plain; charset=utf-8"),
        ],
    )
    def test_of_all_kinds(self, served, kind, body, content_type):
        answer = ask(served, kind)
        assert (answer.status_code, answer.content) == (200, body)
        assert answer.headers["content-type"] == content_type

    def test_a_starlette_response_is_kept(self, served):
        answer = ask(served, "response")
        assert (answer.status_code, answer.json(), answer.headers["x-own"]) == (201, {"x": 1}, "1")

    def test_a_header_cannot_split_the_response(self, served):
        answer = ask(served, "evil")
        assert answer.status_code == 500 and "set-cookie" not in answer.headers

    def test_request_ids_are_kept_or_made(self, served):
        assert ask(served, "", headers={"X-Request-ID": "mine"}).headers["x-request-id"] == "mine"
        assert len(ask(served, "").headers["x-request-id"]) == 36

    def test_requests_come_with_headers_and_body(self, served):
        assert ask(served, "headers", headers={"X-A": "b"}).json()["x-a"] == "b"
        body = bytes(range(256)) * 4000
        assert requests.post(f"{served.url}/?kind=echo", data=body, timeout=30).content == body

    def test_paths_are_decoded(self, served):
        answer = requests.get(f"{served.url}/a%20b/%C3%BC?kind=path", timeout=30)
        assert answer.text == "/a b/ü"

    def test_head_has_no_body(self, served):
        answer = requests.head(f"{served.url}/", timeout=30)
        assert answer.status_code == 200 and answer.content == b"" and answer.headers["content-length"] == "5"


class TestFastApi:
    def test_models_and_parameters(self, served):
        answer = requests.post(f"{served.url}/api/sum", json={"data": [1, 2]}, timeout=30)
        assert answer.json() == {"sum": 6}
        assert requests.get(f"{served.url}/api/plain/x?q=3", timeout=30).json() == "x 3"

    def test_wrong_requests(self, served):
        assert requests.post(f"{served.url}/api/sum", json={"no": 1}, timeout=30).status_code == 422
        assert requests.post(f"{served.url}/api/sum", data="{", timeout=30).status_code == 422
        assert requests.get(f"{served.url}/api/sum", timeout=30).status_code == 405
        assert requests.get(f"{served.url}/api/nothing", timeout=30).status_code == 404

    def test_documentation(self, served):
        paths = requests.get(f"{served.url}/api/openapi.json", timeout=30).json()["paths"]
        assert "/sum" in paths and "self" not in json.dumps(paths)
        assert requests.get(f"{served.url}/api/docs", timeout=30).status_code == 200

    def test_an_exception_is_not_shown(self, served):
        answer = requests.get(f"{served.url}/api/boom", timeout=30)
        assert answer.status_code == 500 and "secret" not in answer.text

    @pytest.mark.parametrize("size", [300_000, 5_000_000])
    def test_bodies_in_parts(self, served, size):
        assert requests.post(f"{served.url}/api/size", data=b"z" * size, timeout=60).json() == size
        chunks = (b"z" * 10_000 for _ in range(size // 10_000))
        assert requests.post(f"{served.url}/api/size", data=chunks, timeout=60).json() == size

    def test_a_long_answer_comes_whole(self, served):
        answer = requests.get(f"{served.url}/api/large?size=5000000", timeout=60)
        assert len(answer.content) == 5_000_000

    def test_a_slow_reader_gets_everything(self, served):
        with requests.get(f"{served.url}/api/large?size=5000000", timeout=60, stream=True) as answer:
            time.sleep(0.3)
            assert sum(len(part) for part in answer.iter_content(65536)) == 5_000_000


class TestWebSocket:
    def test_messages_both_ways(self, served):
        with connect(f"ws://127.0.0.1:{served.port}/api/ws") as ws:
            for text in ("a", "ü" * 50_000, "ü" * 300_000, "b"):
                ws.send(text)
                assert ws.recv(timeout=30) == text.upper()
            ws.send("end")
            with pytest.raises(Exception, match="4001"):
                ws.recv(timeout=30)

    def test_a_wrong_route_is_refused(self, served):
        with pytest.raises(Exception, match="403"):
            connect(f"ws://127.0.0.1:{served.port}/api/other")


def test_routes_of_a_class_that_is_sent_by_value(served):
    """Its name within a function does not survive; methods get `self` all the same."""
    from fastapi import FastAPI, WebSocket

    app = FastAPI()

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    @serve.ingress(app)
    class Inner:
        @app.get("/x")
        def get(self, number: int):
            return number + 1

        @app.websocket("/ws")
        async def talk(self, socket: WebSocket):
            await socket.accept()
            await socket.send_text(await socket.receive_text())

        @app.websocket("/refused")
        async def refused(self, socket: WebSocket, needed: int):
            await socket.accept()

    serve.run(Inner.bind(), name="inner", route_prefix="/inner")
    assert requests.get(f"{served.url}/inner/x?number=1", timeout=30).json() == 2
    with connect(f"ws://127.0.0.1:{served.port}/inner/ws") as ws:
        ws.send("text")
        assert ws.recv(timeout=30) == "text"
    with pytest.raises(Exception, match="403"):
        connect(f"ws://127.0.0.1:{served.port}/inner/refused")
    serve.delete("inner")


class TestConnections:
    def raw(self, served, text, wait_for=b"", timeout=10):
        with socket.create_connection(("127.0.0.1", served.port), timeout) as sock:
            sock.sendall(text)
            got = b""
            while not (wait_for and wait_for in got):
                part = sock.recv(65536)
                if not part:
                    break
                got += part
            return got

    def test_requests_may_be_sent_ahead(self, served):
        two = (
            b"GET /?kind=path HTTP/1.1\r\nHost: x\r\n\r\n"
            b"GET /-/healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        got = self.raw(served, two)
        assert got.count(b"HTTP/1.1 200 OK") == 2 and got.endswith(b"success")

    def test_old_clients_are_closed(self, served):
        got = self.raw(served, b"GET / HTTP/1.0\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 OK") and b"connection: close" in got

    def test_old_clients_get_streams_until_the_end(self, served):
        got = self.raw(served, b"GET /?kind=generator HTTP/1.0\r\n\r\n")
        assert got.endswith(b"part 0\npart 1\npart 2\n") and b"chunked" not in got

    def test_chunks_stay_apart_although_they_leave_together(self, served):
        got = self.raw(served, b"GET /?kind=many HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        body = got.partition(b"\r\n\r\n")[2]
        assert body == b"".join(b"%x\r\n%d\n\r\n" % (len(b"%d\n" % i), i) for i in range(1000)) + b"0\r\n\r\n"

    def test_what_a_stream_has_yielded_is_not_held_back(self, served):
        head = b"GET /?kind=paused HTTP/1.1\r\nHost: x\r\n\r\n"
        assert b"one\n" in self.raw(served, head, wait_for=b"two\n", timeout=30)

    def test_continue_is_said(self, served):
        head = b"POST /?kind=echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        assert self.raw(served, head, wait_for=b"100 Continue").startswith(b"HTTP/1.1 100 Continue")

    @pytest.mark.parametrize(
        "text, status",
        [
            (b"NONSENSE\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\n\r\n", b"400"),
            (
                b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                b"400",
            ),
            (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", b"431"),
            (
                b"GET /nothing HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
                b"400",
            ),
        ],
    )
    def test_malformed_requests(self, served, text, status):
        got = self.raw(served, text)
        assert got.split(b" ")[1] == status

    def test_a_client_that_leaves_cancels_its_request(self, served):
        begun, before = ask(served, "begun").json(), ask(served, "cancelled").json()
        deadline = time.monotonic() + 30
        with socket.create_connection(("127.0.0.1", served.port)) as sock:
            sock.sendall(b"GET /?kind=slow HTTP/1.1\r\nHost: x\r\n\r\n")
            while ask(served, "begun").json() == begun:
                assert time.monotonic() < deadline
                time.sleep(0.02)
        while ask(served, "cancelled").json() == before:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def test_own_routes(self, served):
        assert requests.get(f"{served.url}/-/healthz", timeout=30).text == "success"
        routes = requests.get(f"{served.url}/-/routes", timeout=30).json()
        assert routes == {"/": "any", "/api": "api"}
        ask(served, "")
        metrics = requests.get(f"{served.url}/-/metrics", timeout=30).text
        assert (
            'serve_num_http_requests_total{route="/",method="GET",application="any",status_code="200"'
            in metrics
        )

    def test_many_at_once(self, served):
        results = []

        def run(i):
            session = requests.Session()
            for j in range(20):
                answer = session.post(f"{served.url}/?kind=echo", data=f"{i} {j}", timeout=60)
                results.append(answer.text == f"{i} {j}")

        threads = [threading.Thread(target=run, args=(i,)) for i in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 200 and all(results)


def test_a_shared_app_gives_each_class_its_own_routes(served):
    """Routes of others, and of none that came later, are not there; included routers pickle; no class is needed."""
    app = FastAPI()
    router = APIRouter(prefix="/more")

    @router.get("/x")
    def x():
        return "x"

    app.include_router(router)

    @serve.ingress(app)
    class First:
        @app.get("/")
        def name(self):
            return "first"

        @app.get("/only")
        def only(self):
            return "only"

    @serve.ingress(app)
    class Second:
        @app.get("/")
        def name(self):
            return "second"

    @app.get("/late")
    def late():
        return "late"

    options = {"ray_actor_options": {"num_cpus": 0.1}}
    for cls in (First, Second, serve.ingress(app)()):
        serve.run(serve.deployment(cls, **options).bind(), name=cls.__name__, route_prefix=f"/{cls.__name__}")

    def texts(name):
        return [
            requests.get(f"{served.url}/{name}{path}", timeout=30).text for path in ("/", "/only", "/more/x")
        ]

    assert texts("First") == ['"first"', '"only"', '"x"']
    assert texts("Second") == ['"second"', '{"detail":"Not Found"}', '"x"']
    assert texts("ASGIIngressDeployment")[2] == '"x"'
    assert requests.get(f"{served.url}/First/late", timeout=30).status_code == 404

    with pytest.raises(ValueError, match="__call__"):
        serve.ingress(app)(type("Callable", (), {"__call__": lambda self: None}))


def test_a_handler_learns_that_its_websocket_was_left(served):
    """It is not cancelled: it receives the disconnect, or cannot send."""
    app = FastAPI()

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    @serve.ingress(app)
    class Listener:
        def __init__(self):
            self.left = {"receiving": asyncio.Event(), "sending": asyncio.Event()}

        async def wait(self, how):
            await self.left[how].wait()
            return how

        @app.websocket("/receiving")
        async def receiving(self, socket: WebSocket):
            await socket.accept()
            try:
                await socket.receive_text()
            except WebSocketDisconnect:
                self.left["receiving"].set()

        @app.websocket("/sending")
        async def sending(self, socket: WebSocket):
            await socket.accept()
            try:
                while True:
                    await socket.send_text("x")
                    await asyncio.sleep(0.01)
            except WebSocketDisconnect:
                self.left["sending"].set()

    handle = serve.run(Listener.bind(), name="listener", route_prefix="/listener")
    for how in ("receiving", "sending"):
        waiting = handle.wait.remote(how)
        with connect(f"ws://127.0.0.1:{served.port}/listener/{how}"):
            pass
        assert waiting.result(timeout_s=30) == how
    serve.delete("listener")


def test_back_pressure_behind_an_app_is_told_as_such(served):
    app = FastAPI()

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    @serve.ingress(app)
    class Front:
        @app.get("/")
        async def ask(self):
            raise BackPressureError(0, 0)

    serve.run(Front.bind(), name="pressed", route_prefix="/pressed")
    answer = requests.get(f"{served.url}/pressed", timeout=30)
    assert answer.status_code == 503 and "backpressure" in answer.text
    serve.delete("pressed")


def test_what_came_before_an_error_arrives(served):
    """A stream that fails ends the connection where a client must see that it is not whole."""

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    def broken(request):
        def parts():
            yield "first"
            raise ValueError("midway")

        return StreamingResponse(parts())

    serve.run(broken.bind(), name="broken", route_prefix="/broken")
    with socket.create_connection(("127.0.0.1", served.port), 30) as sock:
        sock.sendall(b"GET /broken HTTP/1.1\r\nHost: x\r\n\r\n")
        got = b"".join(iter(lambda: sock.recv(65536), b""))
    assert got.endswith(b"5\r\nfirst\r\n")
    serve.delete("broken")
