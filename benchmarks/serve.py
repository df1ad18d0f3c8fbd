"""Serve beside Ray Serve: requests, latencies, streams, bodies, memory, updates.

    python benchmarks/serve.py                                the rows on Narke
    python benchmarks/serve.py --peer PYTHON --rounds 3       in turns with the Ray of another interpreter, with ratios
    python benchmarks/serve.py --only 'plain|chain'           some of them

Needs wrk; the peer's interpreter needs ray[serve]. Rows in ms and MB are better when they are less.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ENGINE = os.environ.get("NARKE_BENCH_ENGINE", "narke")
SECONDS = 4
SLOTS = 32
HOST = "127.0.0.1"
LESS_IS_BETTER = ("ms", "MB")
ROWS: dict[str, tuple[str, Callable[[Any, int], float]]] = {}


def row(unit: str) -> Callable[[Callable[[Any, int], float]], Callable[[Any, int], float]]:
    """Register a row: it gets the module ``serve`` and the proxy's port."""

    def register(function: Callable[[Any, int], float]) -> Callable[[Any, int], float]:
        ROWS[function.__name__] = unit, function
        return function

    return register


def wrk(port: int, path: str, connections: int, script: str = "") -> tuple[float, float]:
    """Requests per second, and the 99th percentile of their latencies in ms."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        words = ["wrk", "-t1", f"-c{connections}", f"-d{SECONDS}s", "--latency", "--timeout", "30s"]
        words += ["-s", file.name] if script else []
        subprocess.run([*words, "-d1s", f"http://{HOST}:{port}{path}"], capture_output=True, check=True)
        ran = subprocess.run(
            [*words, f"http://{HOST}:{port}{path}"], capture_output=True, text=True, check=True
        )
    if bad := re.search(r"Non-2xx or 3xx responses: (\d+)", ran.stdout):
        sys.exit(f"{path}: {bad[1]} requests were not answered as they should")
    late = re.search(r"99%\s+([\d.]+)(us|ms|s)", ran.stdout)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", ran.stdout)
    assert late is not None and rate is not None, ran.stdout
    if float(rate[1]) == 0:  # wrk shows a latency of 0 where nothing was answered in time
        return 0.0, float("inf")
    return float(rate[1]), float(late[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[late[2]]


def plain(serve: Any, **options: Any) -> None:
    @serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0}, **options)
    class Plain:
        async def __call__(self, request: Any) -> str:
            return "hello"

    serve.run(Plain.bind(), name="bench", route_prefix="/")


@row("req/s")
def plain_c1(serve: Any, port: int) -> float:
    plain(serve)
    return wrk(port, "/", 1)[0]


@row("req/s")
def plain_c64(serve: Any, port: int) -> float:
    plain(serve)
    return wrk(port, "/", 64)[0]


@row("ms")
def plain_c64_p99(serve: Any, port: int) -> float:
    plain(serve)
    return wrk(port, "/", 64)[1]


POST = """wrk.method="POST"
wrk.headers["Content-Type"]="application/json"
wrk.body='{"data":[1,2,3]}'
"""


def fastapi_app() -> tuple[Any, Any]:
    from fastapi import FastAPI
    from pydantic import BaseModel

    class Features(BaseModel):
        data: list[float]

    return FastAPI(), Features


@row("req/s")
def fastapi_c64(serve: Any, port: int) -> float:
    app, features = fastapi_app()

    class Model:
        async def predict(self, body: Any) -> dict[str, float]:
            return {"prediction": sum(body.data)}

    Model.predict.__annotations__["body"] = features
    app.post("/predict")(Model.predict)
    made = serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
    serve.run(made(serve.ingress(app)(Model)).bind(), name="bench", route_prefix="/")
    return wrk(port, "/predict", 64, POST)[0]


UVICORN = """
import sys, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()
class Features(BaseModel):
    data: list[float]
@app.post("/predict")
async def predict(body: Features):
    return {"prediction": sum(body.data)}
uvicorn.run(app, port=int(sys.argv[1]), log_level="error")
"""


@row("req/s")
def fastapi_uvicorn_alone_c64(serve: Any, port: int) -> float:
    """The floor: the same app in one process of uvicorn, without any engine."""
    own = free_port()
    process = subprocess.Popen([sys.executable, "-c", UVICORN, str(own)])
    try:
        until_open(own)
        return wrk(own, "/predict", 64, POST)[0]
    finally:
        process.kill()
        process.wait()


@row("req/s")
def handle_chain(serve: Any, port: int) -> float:
    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Double:
        async def __call__(self, x: int) -> int:
            return 2 * x

    @serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
    class Front:
        def __init__(self, double: Any) -> None:
            self.double = double

        async def __call__(self, request: Any) -> str:
            return str(await self.double.remote(21))

    serve.run(Front.bind(Double.bind()), name="bench", route_prefix="/")
    return wrk(port, "/", 32)[0]


@row("ms")
def slow_c512_p99(serve: Any, port: int) -> float:
    """512 at once where 32 at a time work for 5 ms each: the last of 16 turns has waited 80 ms, the ideal."""

    @serve.deployment(max_ongoing_requests=SLOTS, ray_actor_options={"num_cpus": 0})
    class Slow:
        async def __call__(self, request: Any) -> str:
            await asyncio.sleep(0.005)
            return "done"

    serve.run(Slow.bind(), name="bench", route_prefix="/")
    return wrk(port, "/", 512)[1]


@row("chunks/s")
def streamed_chunks(serve: Any, port: int) -> float:
    from starlette.responses import StreamingResponse

    count = 20_000

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Stream:
        async def __call__(self, request: Any) -> Any:
            async def parts() -> Any:
                for number in range(count):
                    yield b"%08d\n" % number

            return StreamingResponse(parts())

    serve.run(Stream.bind(), name="bench", route_prefix="/")
    return best_of(3, lambda: count / timed(lambda: expect(get(port, "/"), 9 * count)))


@row("MB/s")
def bodies_10mb(serve: Any, port: int) -> float:
    size = 10 << 20

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Body:
        def __init__(self) -> None:
            self.body = b"x" * size

        async def __call__(self, request: Any) -> bytes:
            return self.body

    serve.run(Body.bind(), name="bench", route_prefix="/")
    return best_of(5, lambda: size / 1e6 / timed(lambda: expect(get(port, "/"), size)))


@row("MB/s")
def bodies_10mb_sent(serve: Any, port: int) -> float:
    import urllib.request

    body = b"x" * (10 << 20)

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Size:
        async def __call__(self, request: Any) -> str:
            return str(len(await request.body()))

    serve.run(Size.bind(), name="bench", route_prefix="/")

    def send() -> None:
        asked = urllib.request.Request(f"http://{HOST}:{port}/", data=body)
        with urllib.request.urlopen(asked, timeout=120) as answer:
            expect(int(answer.read()), len(body))

    return best_of(5, lambda: len(body) / 1e6 / timed(send))


@row("items/s")
def handle_streamed_items(serve: Any, port: int) -> float:
    """A generator of another deployment, read by `async for` in a replica."""
    count = 5_000

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Source:
        async def items(self) -> Any:
            for number in range(count):
                yield number

    @serve.deployment(ray_actor_options={"num_cpus": 0})
    class Reader:
        def __init__(self, source: Any) -> None:
            self.source = source

        async def __call__(self, request: Any) -> str:
            items = self.source.options(stream=True).items.remote()
            return str(sum([number async for number in items]))

    serve.run(Reader.bind(Source.bind()), name="bench", route_prefix="/")

    def read() -> None:
        import urllib.request

        with urllib.request.urlopen(f"http://{HOST}:{port}/", timeout=120) as answer:
            expect(int(answer.read()), count * (count - 1) // 2)

    return best_of(3, lambda: count / timed(read))


@row("req/s")
def composition(serve: Any, port: int) -> float:
    """A response passed to the next deployment as it is; 32 connections."""

    @serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
    class Double:
        async def __call__(self, x: int) -> int:
            return 2 * x

    @serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
    class Front:
        def __init__(self, first: Any, second: Any) -> None:
            self.first, self.second = first, second

        async def __call__(self, request: Any) -> str:
            return str(await self.second.remote(self.first.remote(21)))

    front = Front.bind(Double.options(name="A").bind(), Double.options(name="B").bind())
    serve.run(front, name="bench", route_prefix="/")
    return wrk(port, "/", 32)[0]


def vectorised(serve: Any, port: int, batched: bool) -> float:
    """A model whose call takes 5 ms whatever the size of its input; 64 connections."""

    @serve.deployment(max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
    class Model:
        async def __call__(self, request: Any) -> str:
            return str(await self.batch(1) if batched else self.predict([1])[0])

        def predict(self, inputs: list[int]) -> list[int]:
            time.sleep(0.005)
            return [2 * x for x in inputs]

        @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.005)
        async def batch(self, inputs: list[int]) -> list[int]:
            return self.predict(inputs)

    serve.run(Model.bind(), name="bench", route_prefix="/")
    return wrk(port, "/", 64)[0]


@row("req/s")
def batched_model(serve: Any, port: int) -> float:
    return vectorised(serve, port, True)


@row("req/s")
def unbatched_model(serve: Any, port: int) -> float:
    return vectorised(serve, port, False)


@row("MB")
def proxy_with_idle_connections(serve: Any, port: int) -> float:
    """Memory of the process that listens, with 10,000 idle connections."""
    plain(serve)
    get(port, "/")
    held = [socket.create_connection((HOST, port), 30) for _ in range(10_000)]
    try:
        get(port, "/")
        return memory_of_listener(port)
    finally:
        for sock in held:
            sock.close()


@row("ms")
def update_of_20_replicas(serve: Any, port: int) -> float:
    """From another user_config to the last replica that has it."""

    @serve.deployment(num_replicas=20, max_ongoing_requests=100, ray_actor_options={"num_cpus": 0})
    class Configured:
        def reconfigure(self, config: dict[str, Any]) -> None:
            self.word = config["word"]

        async def __call__(self, request: Any) -> str:
            return str(self.word)

    # Ray finds versions by itself.
    made = Configured.options(version="1") if ENGINE == "narke" else Configured
    serve.run(made.options(user_config={"word": "old"}).bind(), name="bench", route_prefix="/")

    def update(word: str) -> None:
        serve.run(made.options(user_config={"word": word}).bind(), name="bench", route_prefix="/")

    return best_of(3, lambda: timed(lambda: update(str(time.time()))) * 1e3, least=True)


# ---- how ----


def get(port: int, path: str) -> int:
    """The size of an answer's body."""
    import urllib.request

    with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=120) as answer:
        return sum(len(part) for part in iter(lambda: answer.read(1 << 20), b""))


def expect(found: int, wanted: int) -> None:
    """End the program if an answer is not whole."""
    if found != wanted:
        sys.exit(f"an answer has {found} bytes in place of {wanted}")


def timed(work: Callable[[], None]) -> float:
    """Seconds that it takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def best_of(count: int, measure: Callable[[], float], least: bool = False) -> float:
    """The best of some measurements: others of this machine only make them worse."""
    return (min if least else max)(measure() for _ in range(count))


def free_port() -> int:
    """A port that nobody uses now."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def until_open(port: int) -> None:
    """Wait until somebody listens."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return socket.create_connection((HOST, port), 1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def memory_of_listener(port: int) -> float:
    """PSS in MB of the process that listens on a port."""
    inode = next(
        line.split()[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A"
    )
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) == f"socket:[{inode}]" for fd in (folder / "fd").iterdir()):
                rollup = (folder / "smaps_rollup").read_text()
                found = re.search(r"^Pss:\s+(\d+) kB", rollup, re.M)
                assert found is not None
                return int(found[1]) / 1000
        except OSError:
            continue
    sys.exit(f"nobody listens on port {port}")


@contextlib.contextmanager
def served() -> Iterator[tuple[Any, int]]:
    """Serve on this interpreter's engine: the module and the proxy's port."""
    if ENGINE == "narke":
        sys.path.insert(0, str(ROOT / "python"))
        from narke import _alias

        _alias.install()
    import ray
    from ray import serve

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    port = free_port()
    serve.start(http_options={"port": port})
    yield serve, port
    serve.shutdown()
    ray.shutdown()


def measure(only: str) -> dict[str, tuple[float, str]]:
    """The rows on this interpreter's engine."""
    found = {}
    with served() as (serve, port):
        for name, (unit, function) in ROWS.items():
            if not re.search(only, name):
                continue
            found[name] = function(serve, port), unit
            print(f"{name:32} {found[name][0]:12.1f} {unit}", flush=True)
    return found


def run_on(python: str, engine: str, only: str) -> dict[str, list[Any]]:
    """The rows on an interpreter, in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "rows.json")
        words = [python, __file__, "--only", only, "--json", path]
        env = {**os.environ, "NARKE_BENCH_ENGINE": engine, "RAY_USAGE_STATS_ENABLED": "0"}
        subprocess.run(words, env=env, check=True, stdout=sys.stderr)
        return dict(json.loads(Path(path).read_text()))


def compare(peer: str, rounds: int, only: str) -> None:
    """Print medians of both engines and of the ratios of the same round; above 1 Narke is better."""
    pairs = []
    for number in range(rounds):
        order = [(sys.executable, "narke"), (peer, "ray")]
        got = {
            engine: run_on(python, engine, only)
            for python, engine in (order if number % 2 == 0 else order[::-1])
        }
        pairs.append(got)
    print("| row | Narke | Ray Serve | unit | ratio |\n|---|---:|---:|---|---:|")
    for name, (_, unit) in pairs[0]["narke"].items():
        ours = [pair["narke"][name][0] for pair in pairs]
        theirs = [pair["ray"][name][0] for pair in pairs]
        ratios = [b / a if unit in LESS_IS_BETTER else a / b for a, b in zip(ours, theirs, strict=True)]
        figures = f"{statistics.median(ours):,.1f} | {statistics.median(theirs):,.1f}"
        print(f"| {name} | {figures} | {unit} | {statistics.median(ratios):.1f}x |")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="regular expression of row names")
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument("--peer", help="an interpreter with ray[serve]")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.peer:
        return compare(options.peer, options.rounds, options.only)
    found = measure(options.only)
    if options.json:
        Path(options.json).write_text(json.dumps(found))


if __name__ == "__main__":
    main()
