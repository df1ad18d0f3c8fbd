"""What a running program answers about itself with Python's help: where its memory is, what its PyTorch does.

Called on the thread that answers the node's questions (bindings/sampler.cc); it may take as long as it is asked to.
"""

from __future__ import annotations

import functools
import linecache
import os
import re
import sys
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

__all__ = ["answer"]

_STEP_S = 0.05
_DEFAULT_S = 10.0
_MOST_S = 300.0
_DEPTH = 64  # frames of an allocation
_PATHS = 1_000  # that are told of, the largest
_GROWTH = 1.1  # of traced memory from one look at a new peak to the next
_LEAST_BYTES = 64 << 10
_SHARE = 4  # a look may take one part in so many of the time
_ITERATIONS = 4
_DEFINITION = re.compile(r"(\s*)(?:async\s+def|def|class)\s+(\w+)")

Stops = Callable[[], bool]


def answer(what: str, body: dict[str, Any], stops: Stops) -> dict[str, Any]:
    """The answer to one question.

    Args:
        what: ``"memory_profile"`` or ``"torch_profile"``.
        body: ``duration`` in seconds; ``leaks``: whether only what is still allocated at the end counts;
            ``num_iterations``: steps of optimizers.
        stops: whether the program ends.

    Raises:
        NotImplementedError: this program cannot be asked that; says why.
    """
    return {"memory_profile": _memory_profile, "torch_profile": _torch_profile}[what](body, stops)


def _duration_s(body: dict[str, Any]) -> float:
    return min(float(body.get("duration") or _DEFAULT_S), _MOST_S)


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


# ---- memory ------------------------------------------------------------------------------------------------


def _memory_profile(body: dict[str, Any], stops: Stops) -> dict[str, Any]:
    """What was allocated while it was looked at: at the peak, or, with ``leaks``, what is left of it at the end.

    Memory that Python's allocators and NumPy give is seen, by tracemalloc; that of other C libraries is not, but
    resident memory tells of it.
    """
    leaks = bool(body.get("leaks"))
    own = not tracemalloc.is_tracing()  # a program that traces by itself goes on with it
    before = _resident_bytes()
    began = time.monotonic()
    if own:
        tracemalloc.start(_DEPTH)
    try:
        snapshot = _watch(began + _duration_s(body), leaks, stops)
        traced, peak = tracemalloc.get_traced_memory()
    finally:
        if own:
            tracemalloc.stop()
    stacks, left_out = _stacks(snapshot)
    return {
        "pid": os.getpid(),
        "kind": "leaks" if leaks else "peak",
        "duration_ms": int((time.monotonic() - began) * 1000),
        "traced_bytes": traced,
        "peak_bytes": peak,
        "resident_before_bytes": before,
        "resident_bytes": _resident_bytes(),
        "left_out": left_out,
        "stacks": stacks,
    }


def _watch(end: float, leaks: bool, stops: Stops) -> tracemalloc.Snapshot:
    """Waits until then; the snapshot of the highest point that was met, or of the end."""
    best: tracemalloc.Snapshot | None = None
    best_bytes, next_look = _LEAST_BYTES, 0.0
    while (now := time.monotonic()) < end and not stops():
        traced = tracemalloc.get_traced_memory()[0]
        if not leaks and traced > best_bytes * _GROWTH and now >= next_look:
            best, best_bytes = tracemalloc.take_snapshot(), traced
            next_look = now + _SHARE * (time.monotonic() - now)
        time.sleep(_STEP_S)
    if best is None or tracemalloc.get_traced_memory()[0] >= best_bytes:
        best = tracemalloc.take_snapshot()
    return best


def _stacks(snapshot: tracemalloc.Snapshot) -> tuple[list[dict[str, Any]], int]:
    """Chains of calls with the bytes and blocks that they allocated, the largest first; how many are left out."""
    ours = tracemalloc.Filter(False, __file__, all_frames=True)
    statistics = snapshot.filter_traces([ours]).statistics("traceback")
    told = [
        {
            "count": each.size,
            "blocks": each.count,
            "frames": [_frame(frame.filename, frame.lineno) for frame in each.traceback],
        }
        for each in statistics[:_PATHS]
    ]
    return told, max(0, len(statistics) - _PATHS)


@functools.lru_cache(100_000)
def _frame(path: str, line: int) -> dict[str, Any]:
    return {"function": _function_at(path, line), "file": path, "line": line}


def _function_at(path: str, line: int) -> str:
    """The function around a line, by indentation: a trace knows files and lines alone."""
    lines = linecache.getlines(path)
    if not 0 < line <= len(lines):
        return "?"
    names: list[str] = []
    depth = len(lines[line - 1]) - len(lines[line - 1].lstrip()) + 1
    for text in reversed(lines[:line]):
        found = _DEFINITION.match(text)
        if found and len(found[1]) < depth:
            names.append(found[2])
            depth = len(found[1])
        if depth == 0:
            break
    return ".".join(reversed(names)) or "<module>"


# ---- PyTorch -----------------------------------------------------------------------------------------------


def _torch_profile(body: dict[str, Any], stops: Stops) -> dict[str, Any]:
    """A trace of PyTorch's operators on all threads, and of kernels where there is a GPU, over some optimizer steps."""
    import narke

    torch = sys.modules.get("torch")
    if torch is None:
        raise NotImplementedError(
            f"Process {os.getpid()} has not imported torch; there is nothing to profile."
        )
    steps = _Steps(int(body.get("num_iterations") or _ITERATIONS))
    began = time.monotonic()
    profile = _recording(torch)
    with steps, profile:
        while not (steps.are_done() or stops() or time.monotonic() - began > _duration_s(body)):
            time.sleep(_STEP_S)
    path = os.path.join(_logs_folder(), f"torch_profile_{os.getpid()}_{time.time_ns() // 10**6}.json")
    profile.export_chrome_trace(path)
    return {
        "pid": os.getpid(),
        "node_id": narke.get_runtime_context().get_node_id(),
        "file": os.path.basename(path),
        "steps": steps.count,
        "duration_ms": int((time.monotonic() - began) * 1000),
        "has_gpu": bool(torch.cuda.is_available()),
    }


class _Steps:
    """Counts the steps of all optimizers while it is entered."""

    def __init__(self, wanted: int) -> None:
        self.count, self._wanted = 0, wanted

    def are_done(self) -> bool:
        return self.count >= self._wanted

    def _add(self, *_: Any) -> None:
        self.count += 1

    def __enter__(self) -> _Steps:
        from torch.optim.optimizer import register_optimizer_step_post_hook

        self._hook = register_optimizer_step_post_hook(self._add)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


def _recording(torch: Any) -> Any:
    from torch.profiler import ProfilerActivity, profile

    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    try:  # other threads than this one, which PyTorch leaves out unless told
        config = torch._C._profiler._ExperimentalConfig(profile_all_threads=True)
    except (AttributeError, TypeError) as error:
        version = torch.__version__
        raise NotImplementedError(f"PyTorch {version} cannot profile other threads: {error}.") from None
    return profile(activities=activities, experimental_config=config)


def _logs_folder() -> str:
    from narke._private.session import connected

    return os.path.join(str(connected().info["session_dir"]), "logs")
