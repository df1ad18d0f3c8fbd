"""What strangers send: malformed and smuggled requests, slow ones, broken WebSocket frames, and TLS."""

import random
import socket
import struct
import subprocess
import sys
import textwrap

import pytest
import requests
from conftest import free_port
from ray import serve
from starlette.requests import Request


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Echo:
    async def __call__(self, request: Request):
        body = (await request.body()).decode("latin-1")
        return f"{request.method} {request.url.path} {body}"


@pytest.fixture(scope="module")
def echo(served):
    from fastapi import FastAPI, WebSocket
    from pydantic import BaseModel

    app = FastAPI()

    class Item(BaseModel):
        number: int

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    @serve.ingress(app)
    class Api:
        @app.post("/item")
        def item(self, item: Item):
            return item.number

        @app.websocket("/ws")
        async def ws(self, socket: WebSocket):
            await socket.accept()
            async for text in socket.iter_text():
                await socket.send_text(text)

    serve.run(Echo.bind(), name="echo", route_prefix="/")
    serve.run(Api.bind(), name="api", route_prefix="/api")
    return served


def raw(served, sent, seconds=10):
    """Everything that comes back until the other side closes, or half the time is over in silence."""
    with socket.create_connection(("127.0.0.1", served.port), seconds) as sock:
        sock.sendall(sent)
        sock.shutdown(socket.SHUT_WR)
        got = b""
        while part := sock.recv(65536):
            got += part
        return got


def statuses(got):
    return [line.split(b" ")[1] for line in got.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


BODY = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5, 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length: -5\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b" Transfer-Encoding: chunked\r\n",
        b"X: a\0b\r\n",
        b"X\0: a\r\n",
        b"X: a\r\r\nY: b\r\n",
        b"X: a\nTransfer-Encoding: chunked\r\n",
        b"Host: y\r\n",
        b"Content-Length: \r\n",
        b"Content-Length: 5;\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b'Transfer-Encoding: "chunked"\r\n',
        b"Transfer-Encoding: chunked;q=1\r\n",
        b"Transfer-Encoding:\r\n",
        b": nothing\r\n",
        b"no colon\r\n",
        b"Content-Length: 36\r\nContent-Length: 36\r\n",
        b"Content-Length: 36, 36\r\n",
    ],
)
def test_a_request_with_two_readings_is_refused(echo, head):
    """What follows must not be taken as another request."""
    got = raw(echo, b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n" + BODY)
    assert statuses(got) == [b"400"] and b"smuggled" not in got


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n",
        b"-1\r\n",
        b"fffffffffffffffff\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3;\0\r\nabc\r\n0\r\n\r\n",
        b'3;a="\n"\r\nabc\r\n0\r\n\r\n',
        b"3 \r\nabc\r\n0\r\n\r\n",
        b"0x3\r\nabc\r\n0\r\n\r\n",
        b"+3\r\nabc\r\n0\r\n\r\n",
        b"3\nabc\n0\n\n",
        b"3\r\nabc0\r\n\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"\r\n",
    ],
)
def test_broken_chunks_are_refused(echo, chunks):
    got = raw(echo, b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + BODY)
    assert statuses(got)[:1] in ([b"400"], []) and b"smuggled" not in got


@pytest.mark.parametrize(
    "line",
    [
        b"GET  / HTTP/1.1",
        b"GET / HTTP/1.1 more",
        b"GET / HTTP/2.0",
        b"GET / HTTP/1.",
        b"GET / http/1.1",
        b"G\0T / HTTP/1.1",
        b"GET /\0 HTTP/1.1",
        b"GET",
        b"GET / HTTP/1.1\r\nHost: a/b@c\r\nX: y\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1",
        b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked",
        b"\r\n\r\n\r\n\r\n\r\nGET / HTTP/1.1",
        b"\nGET / HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_broken_request_lines_are_refused(echo, line):
    got = raw(echo, line + b"\r\nHost: x\r\n\r\n")
    assert statuses(got) in ([b"400"], [b"505"]), got[:200]


def test_giant_heads_are_refused(echo):
    many = b"".join(b"H%d: %s\r\n" % (n, b"x" * 100) for n in range(2000))
    assert statuses(raw(echo, b"GET / HTTP/1.1\r\nHost: x\r\n" + many + b"\r\n")) == [b"431"]
    assert statuses(raw(echo, b"GET /" + b"x" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n")) in (
        [b"414"],
        [b"431"],
    )


class TestRequests:
    def test_unicode_paths(self, echo):
        assert requests.get(f"{echo.url}/café/日本", timeout=30).content.decode() == "GET /café/日本 "
        assert requests.get(f"{echo.url}/%F0%9F%9A%80", timeout=30).content.decode() == "GET /🚀 "

    def test_bytes_that_are_no_text_are_no_path(self, echo):
        with socket.create_connection(("127.0.0.1", echo.port), 30) as sock:
            sock.sendall(b"GET /\xff\xfe%ff HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            got = sock.recv(65536)
        assert statuses(got) in ([b"200"], [b"400"])

    @pytest.mark.parametrize("body", [b"{", b'{"number": "x"}', b"", b"[]", b"\xff"])
    def test_invalid_json(self, echo, body):
        headers = {"content-type": "application/json"}
        assert requests.post(f"{echo.url}/api/item", data=body, headers=headers, timeout=30).status_code in (
            (422, 400) if body == b"\xff" else (422,)
        )

    def test_valid_json(self, echo):
        assert requests.post(f"{echo.url}/api/item", json={"number": 3}, timeout=30).json() == 3

    def test_wrong_method_and_unknown_route(self, echo):
        assert requests.get(f"{echo.url}/api/item", timeout=30).status_code == 405
        assert requests.get(f"{echo.url}/api/none", timeout=30).status_code == 404

    def test_a_head_that_comes_byte_by_byte(self, echo):
        with socket.create_connection(("127.0.0.1", echo.port), 30) as sock:
            for byte in b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n":
                sock.sendall(bytes([byte]))
            got = b""
            while part := sock.recv(65536):
                got += part
        assert got.endswith(b"GET /slow ")

    def test_many_that_never_finish_keep_nobody_out(self, echo):
        """Slowloris: hundreds of connections with half a head."""
        held = []
        try:
            for _ in range(300):
                sock = socket.create_connection(("127.0.0.1", echo.port), 30)
                sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-A: ")
                held.append(sock)
            for _ in range(20):
                assert requests.get(echo.url + "/", timeout=10).status_code == 200
        finally:
            for sock in held:
                sock.close()


def exchanged(served, sent, count):
    """What comes back until so many answers, and the bodies announced, are there; the connection stays open."""
    with socket.create_connection(("127.0.0.1", served.port), 30) as sock:
        sock.sendall(sent)
        reader = sock.makefile("rb")
        answers = []
        while len(answers) < count:
            status = int(reader.readline().split()[1])
            headers = {}
            while line := reader.readline().strip():
                name, _, value = line.decode("latin-1").partition(": ")
                headers[name] = value
            answers.append((status, headers, reader.read(int(headers.get("content-length", 0)))))
        return answers


class TestConformance:
    """RFC 9110 and 9112: what has to work although it is rarely sent."""

    @pytest.mark.parametrize(
        ("sent", "body"),
        [
            (b"\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /a "),
            (b"GET /a HTTP/1.1\r\nHost:\r\n\r\n", b"GET /a "),
            (b"GET /a HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", b"GET /a "),
            (b"GET http://y/a?b HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /a "),
            (b"GET /a HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n", b"GET /a "),
            (b"GET /a HTTP/1.1\r\nhOST: x\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", b"GET /a "),
            (b"DELETE /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", b"DELETE /a abc"),
            (b"GET /a HTTP/1.1\r\nHost: x\r\nContent-Length: 003\r\n\r\nabc", b"GET /a abc"),
            (b"ODD /a HTTP/1.1\r\nHost: x\r\n\r\n", b"ODD /a "),
            (
                b"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: CHUNKED\r\nTrailer: X-T\r\n\r\n"
                b'0003;a=b;c="d"\r\nabc\r\n00\r\nX-T: 1\r\nHost: other\r\n\r\n',
                b"POST /a abc",
            ),
        ],
    )
    def test_the_request_after_it_is_answered_too(self, echo, sent, body):
        first, second = exchanged(echo, sent + b"GET /next HTTP/1.1\r\nHost: x\r\n\r\n", 2)
        assert (first[0], first[2]) == (200, body)
        assert (second[0], second[2]) == (200, b"GET /next ")

    def test_an_expectation_is_answered_before_the_body_comes(self, echo):
        with socket.create_connection(("127.0.0.1", echo.port), 30) as sock:
            sock.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
            assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b"abc")
            assert b"POST / abc" in sock.recv(65536)

    def test_an_unknown_expectation_is_refused(self, echo):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nExpect: more\r\nContent-Length: 3\r\n\r\n"
        assert statuses(raw(echo, head + b"abc")) == [b"417"]

    def test_the_answer_to_head_has_no_body(self, echo):
        with socket.create_connection(("127.0.0.1", echo.port), 30) as sock:
            sock.sendall(b"HEAD /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            got = b"".join(iter(lambda: sock.recv(65536), b""))
        assert statuses(got) == [b"200"] and got.endswith(b"\r\n\r\n")
        assert b"\r\ncontent-length: 8\r\n" in got

    def test_http_1_0_is_closed_unless_the_client_keeps_it(self, echo):
        with socket.create_connection(("127.0.0.1", echo.port), 30) as sock:
            sock.sendall(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\n\r\n")
            got = b"".join(iter(lambda: sock.recv(65536), b""))
        assert got.count(b"HTTP/1.1 200 OK\r\n") == 2 and got.endswith(b"GET /b ")

    @pytest.mark.parametrize("line", [b"1;" + b"a" * 500_000, b"0\r\nX: " + b"a" * 500_000])
    def test_lines_of_chunks_have_a_limit(self, echo, line):
        head = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        with socket.create_connection(("127.0.0.1", echo.port), 30) as sock:
            sock.sendall(head + line)
            assert statuses(sock.recv(65536)) in ([b"400"], [b"431"])

    def test_bytes_that_mean_nothing_end_nothing_but_their_connection(self, echo):
        """Requests with bytes changed, cut out and put in at random are answered or refused, and the proxy lives."""
        chance = random.Random(8)
        whole = (
            b"POST /a?b=c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n"
            b"Connection: keep-alive\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
            b"GET /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok"
        )
        for _ in range(400):
            sent = bytearray(whole)
            for _ in range(chance.randint(1, 6)):
                at = chance.randrange(len(sent))
                sent[at : at + chance.randint(0, 3)] = chance.choice(
                    [b"", b"\r\n", b"\0", b" ", b"9", b"\xff", b":"]
                )
            got = raw_or_reset(echo, bytes(sent))
            assert all(
                status in (b"100", b"200", b"400", b"404", b"408", b"413", b"417", b"431") for status in got
            )
        assert requests.get(echo.url + "/", timeout=30).status_code == 200


def raw_or_reset(served, sent):
    """The statuses of what comes back; none where the connection was reset."""
    try:
        return statuses(raw(served, sent))
    except ConnectionError:
        return []


def handshake(served):
    sock = socket.create_connection(("127.0.0.1", served.port), 30)
    sock.sendall(
        b"GET /api/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    got = b""
    while b"\r\n\r\n" not in got:
        part = sock.recv(1)
        assert part, got
        got += part
    assert got.startswith(b"HTTP/1.1 101")
    return sock


def frame(opcode, payload=b"", fin=True, masked=True, reserved=0):
    first = (0x80 if fin else 0) | reserved << 4 | opcode
    length = len(payload)
    size = bytes([length]) if length < 126 else b"\x7e" + struct.pack(">H", length)
    head = bytes([first, size[0] | (0x80 if masked else 0)]) + size[1:]
    return head + (b"\0\0\0\0" if masked else b"") + payload


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(1, b"x", masked=False), 1002),
        (frame(1, b"x", reserved=4), 1002),
        (frame(3, b"x"), 1002),
        (frame(0xB, b"x"), 1002),
        (frame(9, b"x" * 126), 1002),
        (frame(9, b"x", fin=False), 1002),
        (frame(0, b"x"), 1002),
        (frame(1, b"a", fin=False) + frame(1, b"b"), 1002),
        (frame(1, b"\xff\xfe"), 1007),
        (frame(8, b"\x03"), 1002),
        (frame(8, struct.pack(">H", 1000)), 1000),
        (b"\x81\xff" + struct.pack(">Q", 1 << 40) + b"\0\0\0\0", 1009),
    ],
)
def test_broken_frames_close_the_websocket(echo, sent, code):
    """RFC 6455: the close frame says why."""
    with handshake(echo) as sock:
        sock.sendall(sent)
        got = b""
        while part := sock.recv(65536):
            got += part
    assert got[:1] == b"\x88" and struct.unpack(">H", got[2:4])[0] == code


def test_a_websocket_still_works(echo):
    with handshake(echo) as sock:
        sock.sendall(frame(9, b"ping") + frame(1, b"he", fin=False) + frame(0, b"llo"))
        got = b""
        while b"hello" not in got:
            got += sock.recv(65536)
    assert b"\x8a\x04ping" in got


def in_a_cluster_of_its_own(options, program):
    """What a program prints where Serve has other HTTP options: they hold for all of it."""
    begin = f"""
import narke._alias
narke._alias.install()
import asyncio, ray, requests, socket
from ray import serve
ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
serve.start(http_options={ {"port": free_port(), **options}!r})
from narke.serve._private.client import controller
port = ray.get(controller().http_options.remote())["port"]
"""
    program = begin + textwrap.dedent(program) + "\nserve.shutdown()\n"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout.split()


def test_a_request_that_takes_too_long_is_ended():
    words = in_a_cluster_of_its_own(
        {"request_timeout_s": 0.5},
        """
        @serve.deployment
        class Slow:
            def __init__(self):
                self.cancelled = False

            def was_cancelled(self):
                return self.cancelled

            async def __call__(self, request):
                if request.url.path == "/quick":
                    return "quick"
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    self.cancelled = True
                    raise

        handle = serve.run(Slow.bind())
        print(requests.get(f"http://127.0.0.1:{port}/", timeout=30).status_code)
        print(requests.get(f"http://127.0.0.1:{port}/quick", timeout=30).status_code)
        while not handle.was_cancelled.remote().result():
            pass
        """,
    )
    assert words == ["408", "200"]


class TestTls:
    @pytest.fixture
    def files(self, tmp_path):
        folder = tmp_path
        key, certificate = folder / "key.pem", folder / "certificate.pem"
        words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
        subprocess.run(
            [*words.split(), "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
            check=True,
            capture_output=True,
        )
        return key, certificate

    def test_the_proxy_serves_https(self, files):
        key, certificate = map(str, files)
        words = in_a_cluster_of_its_own(
            {"ssl_keyfile": key, "ssl_certfile": certificate},
            f"""
            @serve.deployment
            def hello(request):
                return request.url.scheme

            serve.run(hello.bind())
            print(requests.get(f"https://127.0.0.1:{{port}}/", verify={certificate!r}, timeout=30).text)
            with socket.create_connection(("127.0.0.1", port), 10) as plain:
                plain.sendall(b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
                print(plain.recv(100)[:5] == b"HTTP/")
            """,
        )
        assert words == ["https", "False"]
