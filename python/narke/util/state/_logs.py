"""Logs by node, file, process, actor, task or job.

A node's logs are files in its session's folder; this reads those of nodes on this host.
"""

from __future__ import annotations

import fnmatch
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import narke
from narke.util.state.common import GetLogOptions, remove_ansi_escape_codes
from narke.util.state.exception import RayStateApiException

__all__ = ["names", "read"]

_PIECE_BYTES = 64 * 1024
_FOLLOW_PERIOD_S = 0.5
_SHORT_ID = 16  # hexadecimal digits of a worker's id in the name of its log


@dataclass
class _Span:
    """A part of a file: from a byte to a byte, None for the end as it grows."""

    path: str
    start: int = 0
    end: int | None = None


def names(node_id: str | None, node_ip: str | None, glob_filter: str) -> dict[str, list[str]]:
    """Return a node's log files by group."""
    if bool(node_id) == bool(node_ip):
        raise ValueError(f"name the node with either node_id or node_ip, got {node_id!r} and {node_ip!r}")
    folder = _folder(node_id, node_ip)
    groups: dict[str, list[str]] = {}
    for name in sorted(_files(folder)):
        if fnmatch.fnmatch(name, glob_filter):
            groups.setdefault(_group(name), []).append(name)
    return groups


def _group(name: str) -> str:
    if name.startswith("job-driver"):
        return "driver"
    base, _, suffix = os.path.basename(name).partition(".")
    kind = base.split("-")[0].split("_")[0]
    if kind == "worker" and suffix in ("out", "err"):
        return f"worker_{suffix}"
    return kind or "misc"


def _files(folder: str) -> list[str]:
    found = []
    for place, _, files in os.walk(folder):
        found += [os.path.relpath(os.path.join(place, name), folder) for name in files]
    return found


def read(options: GetLogOptions, encoding: str | None, errors: str, plain: bool) -> Iterator[Any]:
    """Yield a log's content in pieces, as text unless `encoding` is None."""
    span = _find(options)
    follow = options.media_type == "stream"
    pieces = _pieces(span, options.lines, follow, options.interval or _FOLLOW_PERIOD_S)
    return pieces if encoding is None else _decoded(pieces, encoding, errors, plain)


def _decoded(pieces: Iterator[bytes], encoding: str, errors: str, plain: bool) -> Iterator[str]:
    for piece in pieces:
        text = piece.decode(encoding, errors)
        yield remove_ansi_escape_codes(text) if plain else text


def _pieces(span: _Span, lines: int, follow: bool, interval_s: float) -> Iterator[bytes]:
    """Whole lines where the file has them, so that no character is cut in two."""
    with open(span.path, "rb") as file:
        file.seek(_start_of_last_lines(file, span, lines))
        rest = b""
        while True:
            left = _PIECE_BYTES if span.end is None else min(_PIECE_BYTES, span.end - file.tell())
            piece = file.read(left) if left > 0 else b""
            if not piece:
                if not follow or left <= 0:
                    break
                time.sleep(interval_s)
                continue
            rest += piece
            cut = rest.rfind(b"\n") + 1
            if cut:
                yield rest[:cut]
                rest = rest[cut:]
    if rest:
        yield rest


def _start_of_last_lines(file: Any, span: _Span, lines: int) -> int:
    """The byte at which the last `lines` lines of a span begin; negative numbers stand for all lines."""
    size = os.fstat(file.fileno()).st_size
    position = end = size if span.end is None else min(span.end, size)
    if lines < 0:
        return span.start
    tail, wanted = b"", lines + 1
    while position > span.start and tail.count(b"\n") < wanted:
        step = min(_PIECE_BYTES, position - span.start)
        position -= step
        file.seek(position)
        tail = file.read(step) + tail
    kept = tail.splitlines(keepends=True)[-lines:] if lines else []
    return end - sum(map(len, kept))


def _find(options: GetLogOptions) -> _Span:
    """The file, and the part of it, that a query names."""
    if options.task_id:
        return _task_log(options)
    if options.submission_id:
        return _Span(
            _path(_folder(options.node_id, options.node_ip), f"job-driver-{options.submission_id}.log")
        )
    if options.actor_id:
        actor = _record("actors", "actor_id", options.actor_id)
        return _process_log(_folder(actor["node_id"], None), actor["pid"], options.suffix)
    folder = _folder(options.node_id, options.node_ip)
    if options.filename:
        return _Span(_path(folder, options.filename))
    assert options.pid is not None, "the options were checked to name a log"
    return _process_log(folder, options.pid, options.suffix)


def _task_log(options: GetLogOptions) -> _Span:
    task = _record("tasks", "task_id", options.task_id, attempt_number=options.attempt_number)
    folder = _folder(task["node_id"], None)
    kept = task.get("task_log_info") or {}
    kind = "stdout" if options.suffix == "out" else "stderr"
    if kept.get(f"{kind}_file"):
        path = _path(folder, os.path.basename(kept[f"{kind}_file"]))
        return _Span(path, kept.get(f"{kind}_start") or 0, kept.get(f"{kind}_end"))
    return _process_log(folder, task["worker_pid"], options.suffix)


def _process_log(folder: str, pid: int | None, suffix: str) -> _Span:
    """The log of a process; workers' logs are named after their ids."""
    from narke._private import state

    ids = [
        worker["worker_id"][:_SHORT_ID] for worker in state.snapshot("workers") if worker.get("pid") == pid
    ]
    wanted = [f"*-{pid}.{suffix}", *(f"worker-{id}*.{suffix}" for id in ids)]
    for name in _files(folder):
        if any(fnmatch.fnmatch(os.path.basename(name), pattern) for pattern in wanted):
            return _Span(_path(folder, name))
    raise RayStateApiException(
        f"process {pid} has no .{suffix} log in {folder}; list_logs gives the names there"
    )


def _record(kind: str, id_field: str, id: str | None, **more: Any) -> dict[str, Any]:
    from narke._private import state

    wanted = {id_field: id, **more}
    for entry in state.snapshot(kind, filters=[(id_field, "=", id)]):
        if all(entry.get(name) == value for name, value in wanted.items()):
            if not entry.get("node_id"):
                raise RayStateApiException(f"{id_field} {id} has not run on a node yet, so it has no log")
            return entry
    raise RayStateApiException(f"there is no entry with {id_field} {id} among the cluster's {kind}")


def _path(folder: str, name: str) -> str:
    """A file inside of the folder, whatever the name says."""
    path = os.path.realpath(os.path.join(folder, name))
    if os.path.commonpath([path, os.path.realpath(folder)]) != os.path.realpath(folder):
        raise RayStateApiException(f"{name!r} is no log file: it lies outside of the logs' folder")
    if not os.path.isfile(path):
        raise RayStateApiException(
            f"there is no log file {name!r} in {folder}; list_logs gives the names there"
        )
    return path


def _folder(node_id: str | None, node_ip: str | None) -> str:
    """The logs' folder of a node on this host; without a node, this program's own."""
    from narke._private import session

    here = session.connected()
    own = os.path.join(here.info["session_dir"], "logs")
    if not node_id and not node_ip:
        return own
    for node in narke.nodes():
        if node_id and node["NodeID"] != node_id:
            continue
        if node_ip and node["NodeManagerAddress"] != node_ip:
            continue
        folder = node.get("LogsDir") or own
        if node["NodeID"] != narke.get_runtime_context().get_node_id() and not os.path.isdir(folder):
            raise RayStateApiException(
                f"the logs of node {node['NodeID']} lie on {node['NodeManagerAddress']}; read them there, "
                "or in "
                "the dashboard"
            )
        return folder
    raise RayStateApiException(f"the cluster has no node with id {node_id!r} and address {node_ip!r}")
