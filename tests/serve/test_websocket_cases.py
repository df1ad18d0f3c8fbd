"""RFC 6455 from the client's side, byte by byte: lengths, pings, fragments, reserved bits, text, close codes, sizes."""

import socket
import struct

import pytest
from ray import serve

TEXT, BINARY, CLOSE, PING, PONG, CONTINUE = 1, 2, 8, 9, 10, 0
NORMAL = struct.pack(">H", 1000)
MASK = b"\x37\xfa\x21\x3d"


@pytest.fixture(scope="module")
def echo(served):
    from fastapi import FastAPI, WebSocket

    app = FastAPI()

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    @serve.ingress(app)
    class Echo:
        @app.websocket("/")
        async def echo(self, socket: WebSocket):
            await socket.accept()
            while (message := await socket.receive())["type"] != "websocket.disconnect":
                await socket.send({**message, "type": "websocket.send"})

    serve.run(Echo.bind(), name="echo", route_prefix="/")
    return served


def frame(opcode, payload=b"", fin=True, reserved=0, size=None):
    """A client's frame; `size`: the form of its length (1, 2 or 8 bytes) where it is not the shortest."""
    length = len(payload)
    size = size or (1 if length < 126 else 2 if length < 65536 else 8)
    first = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    word = {1: bytes([length & 0x7F]), 2: b"\x7e" + struct.pack(">H", length & 0xFFFF)}
    sized = word.get(size) or b"\x7f" + struct.pack(">Q", length)
    repeated = (MASK * (length // 4 + 1))[:length]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(length, "big")
    return first + bytes([sized[0] | 0x80]) + sized[1:] + MASK + masked


class Client:
    """One WebSocket, over a plain socket."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), 30)
        self.held = b""
        self.sock.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        while b"\r\n\r\n" not in self.held:
            self.more()
        head, _, self.held = self.held.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ") and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head

    def more(self):
        part = self.sock.recv(1 << 20)
        assert part, "the connection ended"
        self.held += part

    def take(self, count):
        while len(self.held) < count:
            self.more()
        taken, self.held = self.held[:count], self.held[count:]
        return taken

    def frame(self):
        """The next frame: opcode, whether it ends its message, payload."""
        first, second = self.take(2)
        assert not second & 0x80, "a server's frame is not masked"
        size = {126: 2, 127: 8}.get(second, 0)
        length = int.from_bytes(self.take(size), "big") if size else second
        return first & 0x0F, bool(first & 0x80), self.take(length)

    def message(self):
        """The next message: opcode and payload, parts put together."""
        opcode, is_last, payload = self.frame()
        while not is_last:
            part, is_last, more = self.frame()
            assert part == CONTINUE
            payload += more
        return opcode, payload

    def send(self, *frames, step=0):
        sent = b"".join(frames)
        for at in range(0, len(sent), step or len(sent)):
            self.sock.sendall(sent[at : at + (step or len(sent))])

    def is_over(self):
        """Whether the server closes the connection, with nothing more on it."""
        try:
            return not self.held and self.sock.recv(1) == b""
        except ConnectionResetError:
            return not self.held


@pytest.fixture
def client(echo):
    made = Client(echo.port)
    yield made
    made.sock.close()


def fails_with(client, code):
    """The next thing is a close frame with the code, then the connection ends."""
    opcode, payload = client.message()
    assert (opcode, struct.unpack(">H", payload[:2])[0]) == (CLOSE, code)
    assert client.is_over()


def ends_well(client):
    client.send(frame(CLOSE, NORMAL))
    assert client.message() == (CLOSE, NORMAL)
    assert client.is_over()


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 128, 65535, 65536, 1 << 20])
def test_messages_of_all_forms_of_length(client, opcode, length):
    client.send(frame(opcode, b"*" * length))
    assert client.message() == (opcode, b"*" * length)
    ends_well(client)


@pytest.mark.parametrize("step", [1, 997])
def test_messages_in_pieces_of_the_stream(client, step):
    text = "κόσμε".encode() * 400
    client.send(frame(TEXT, text), frame(PING, b"p"), frame(BINARY, text), step=step)
    got = sorted(client.message() for _ in range(3))
    assert got == [(TEXT, text), (BINARY, text), (PONG, b"p")]
    ends_well(client)


@pytest.mark.parametrize("payload", [b"", b"Hello", b"\x00\xff\xfe\xfd", b"\xfe" * 125])
def test_a_ping_is_answered_with_its_payload(client, payload):
    client.send(frame(PING, payload), step=1)
    assert client.message() == (PONG, payload)
    ends_well(client)


def test_pongs_that_nobody_asked_for_are_passed_over(client):
    client.send(frame(PONG), frame(PONG, b"unasked"), frame(PING, b"asked"))
    assert client.message() == (PONG, b"asked")
    ends_well(client)


def test_ten_pings_have_ten_pongs_in_their_order(client):
    client.send(*[frame(PING, b"%d" % n) for n in range(10)])
    assert [client.message() for _ in range(10)] == [(PONG, b"%d" % n) for n in range(10)]
    ends_well(client)


@pytest.mark.parametrize(
    "parts", [[b"one", b"two"], [b""] * 3, [b"a"] * 200, ["κ".encode()[:1], "κ".encode()[1:]]]
)
@pytest.mark.parametrize("with_pings", [False, True])
def test_fragments_are_one_message(client, parts, with_pings):
    """Control frames may come between them, and a character may be cut."""
    for number, part in enumerate(parts):
        client.send(frame(CONTINUE if number else TEXT, part, fin=number + 1 == len(parts)))
        if with_pings:
            client.send(frame(PING, b"%d" % number))
    got = [client.message() for _ in range(1 + len(parts) * with_pings)]
    assert (TEXT, b"".join(parts)) in got
    assert [payload for opcode, payload in got if opcode == PONG] == [
        b"%d" % number for number in range(len(parts) * with_pings)
    ]
    ends_well(client)


@pytest.mark.parametrize("size", [64, 4096, 1 << 18])
def test_a_message_of_a_million_bytes_in_frames(client, size):
    whole = bytes(range(256)) * 4096
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    client.send(
        *[frame(CONTINUE if n else BINARY, part, fin=n + 1 == len(parts)) for n, part in enumerate(parts)]
    )
    assert client.message() == (BINARY, whole)
    ends_well(client)


@pytest.mark.parametrize("reserved", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
def test_reserved_bits_mean_nothing_here(client, reserved, opcode):
    client.send(frame(opcode, b"", reserved=reserved))
    fails_with(client, 1002)


@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
def test_unknown_opcodes(client, opcode):
    client.send(frame(opcode))
    fails_with(client, 1002)


@pytest.mark.parametrize(
    "frames",
    [
        [frame(PING, b"a", fin=False), frame(CONTINUE, b"b")],
        [frame(PONG, b"a", fin=False), frame(CONTINUE, b"b")],
        [frame(CLOSE, NORMAL, fin=False)],
        [frame(CONTINUE, b"nothing before it")],
        [frame(CONTINUE, b"nothing before it", fin=False), frame(TEXT, b"x")],
        [frame(TEXT, b"a", fin=False), frame(TEXT, b"b")],
        [frame(TEXT, b"a", fin=False), frame(BINARY, b"b", fin=False)],
        [frame(PING, b"x" * 126)],
        [frame(CLOSE, NORMAL + b"x" * 124)],
        [frame(PING, b"short", size=2)],
        [frame(TEXT, b"short", size=2)],
        [frame(TEXT, b"short", size=8)],
        [frame(BINARY, b"x" * 300, size=8)],
        [b"\x82\xff" + struct.pack(">Q", 1 << 63) + MASK],
        [frame(CLOSE, b"\x03")],
    ],
)
def test_frames_that_the_rfc_forbids(client, frames):
    client.send(*frames)
    opcode, payload = client.message()
    assert opcode == CLOSE and struct.unpack(">H", payload[:2])[0] in (1002, 1009)
    assert client.is_over()


def test_what_came_before_a_broken_frame_is_still_handled(echo):
    """A client sends two messages and a broken frame at once: the close comes after both were given to the handler."""
    client = Client(echo.port)
    client.send(frame(PING, b"1"), frame(PING, b"2"), frame(TEXT, b"", reserved=2))
    assert [client.message() for _ in range(2)] == [(PONG, b"1"), (PONG, b"2")]
    fails_with(client, 1002)


GOOD_TEXT = [
    "\x7f",
    "\x80",
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\ufffd",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
]
BAD_TEXT = [
    b"\x80",
    b"\xbf",
    b"\xc0\x80",
    b"\xc1\xbf",
    b"\xc3",
    b"\xe0\x80\x80",
    b"\xe0\x9f\xbf",
    b"\xe1\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf0\x80\x80\x80",
    b"\xf0\x8f\xbf\xbf",
    b"\xf1\x80\x80",
    b"\xf4\x90\x80\x80",
    b"\xf5\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xfe",
    b"\xff",
    b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
]


@pytest.mark.parametrize("text", GOOD_TEXT)
def test_every_kind_of_character(client, text):
    client.send(frame(TEXT, text.encode()))
    assert client.message() == (TEXT, text.encode())


@pytest.mark.parametrize("text", BAD_TEXT)
@pytest.mark.parametrize("cut", [False, True])
def test_text_that_is_no_utf8(client, text, cut):
    if cut:
        client.send(frame(TEXT, text[:1], fin=False), frame(CONTINUE, text[1:]))
    else:
        client.send(frame(TEXT, text))
    fails_with(client, 1007)


class TestClosing:
    def test_without_a_code(self, client):
        client.send(frame(CLOSE))
        assert client.message()[0] == CLOSE
        assert client.is_over()

    def test_nothing_is_answered_after_it(self, client):
        client.send(frame(CLOSE, NORMAL), frame(CLOSE, NORMAL), frame(PING, b"x"), frame(TEXT, b"x"))
        assert client.message() == (CLOSE, NORMAL)
        assert client.is_over()

    def test_within_a_message(self, client):
        client.send(frame(TEXT, b"begun", fin=False), frame(CLOSE, NORMAL), frame(CONTINUE, b"ended"))
        assert client.message() == (CLOSE, NORMAL)
        assert client.is_over()

    def test_with_the_longest_reason(self, client):
        client.send(frame(CLOSE, NORMAL + b"*" * 123))
        assert client.message()[1][:2] == NORMAL
        assert client.is_over()

    def test_with_a_reason_that_is_no_text(self, client):
        client.send(frame(CLOSE, NORMAL + b"\xce\xba\xed\xa0\x80"))
        fails_with(client, 1007)

    @pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999])
    def test_codes_that_may_be_sent(self, client, code):
        client.send(frame(CLOSE, struct.pack(">H", code) + b"why"))
        fails_with(client, code)

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535])
    def test_codes_that_may_not(self, client, code):
        client.send(frame(CLOSE, struct.pack(">H", code)))
        fails_with(client, 1002)


def test_a_message_above_the_limit_is_refused_before_it_comes(client):
    client.send(b"\x82\xff" + struct.pack(">Q", 1 << 40) + MASK)
    fails_with(client, 1009)


def test_parts_above_the_limit_together_are_refused(client):
    """16 MiB are the most of a message."""
    client.send(frame(BINARY, b"x" * (9 << 20), fin=False))
    client.send(frame(CONTINUE, b"x" * (9 << 20), fin=False)[:4096])
    fails_with(client, 1009)


@pytest.mark.parametrize(
    "lines",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"GET / HTTP/1.0\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: short\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: !!!!IHNhbXBsZSBub25jZQ==\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nContent-Length: 5\r\n",
    ],
)
def test_handshakes_that_are_none(echo, lines):
    with socket.create_connection(("127.0.0.1", echo.port), 30) as sock:
        sock.sendall(
            lines + b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_another_version_is_told_which_is_spoken(echo):
    with socket.create_connection(("127.0.0.1", echo.port), 30) as sock:
        sock.sendall(
            b"GET / HTTP/1.1\r\nHost: x\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 8\r\n\r\n"
        )
        got = sock.recv(1000)
    assert got.startswith(b"HTTP/1.1 426 ") and b"sec-websocket-version: 13" in got
