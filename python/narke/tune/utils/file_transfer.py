"""Folders copied between nodes."""

from __future__ import annotations

import fnmatch
import io
import os
import shutil
import tarfile
from typing import Any

__all__ = ["delete_on_node", "sync_dir_between_nodes"]

_DEFAULT_CHUNK_SIZE_BYTES = 500 * 1024 * 1024
_DEFAULT_MAX_SIZE_BYTES = 1 * 1024 * 1024 * 1024


def sync_dir_between_nodes(
    source_ip: str,
    source_path: str,
    target_ip: str,
    target_path: str,
    force_all: bool = False,
    exclude: list | None = None,
    chunk_size_bytes: int = _DEFAULT_CHUNK_SIZE_BYTES,
    max_size_bytes: int | None = _DEFAULT_MAX_SIZE_BYTES,
    return_futures: bool = False,
) -> Any:
    """Copy a folder from one node to another, through the object store.

    Args:
        source_ip, source_path: where from.
        target_ip, target_path: where to.
        force_all: copy files, too, that are as new and as large there.
        exclude: patterns of names that are not copied.
        chunk_size_bytes: kept for programs that pass it: the object store cuts large objects itself.
        max_size_bytes: the most; None for no limit.
        return_futures: return references instead of waiting.

    Returns:
        the reference of the end with `return_futures`, else None.

    Raises:
        RuntimeError: the folder is larger than `max_size_bytes`, or a node is not there.
    """
    import narke

    there = {} if force_all else _on(target_ip)(_files).remote(target_path)
    packed = _on(source_ip)(_pack).remote(source_path, there, list(exclude or []), max_size_bytes)
    done = _on(target_ip)(_unpack).remote(packed, target_path)
    if return_futures:
        return done
    narke.get(done)
    return None


def delete_on_node(node_ip: str, path: str, return_future: bool = False) -> Any:
    """Delete a file or folder on a node.

    Returns:
        whether there was one, or its reference with `return_future`.
    """
    import narke

    done = _on(node_ip)(_delete).remote(path)
    return done if return_future else narke.get(done)


def _on(ip: str) -> Any:
    """A decorator for tasks that run on a node."""
    import narke
    from narke.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    nodes = [node for node in narke.nodes() if node["Alive"] and node["NodeManagerAddress"] == ip]
    if not nodes:
        known = [node["NodeManagerAddress"] for node in narke.nodes() if node["Alive"]]
        raise RuntimeError(f"no node has the address {ip}; there are {known}")
    where = NodeAffinitySchedulingStrategy(nodes[0]["NodeID"], soft=False)
    return narke.remote(num_cpus=0, scheduling_strategy=where)


def _files(folder: str) -> dict[str, tuple[float, int]]:
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)
            facts = os.lstat(path)
            found[os.path.relpath(path, folder)] = (facts.st_mtime, facts.st_size)
    return found


def _pack(folder: str, there: dict, exclude: list[str], max_size_bytes: int | None) -> bytes:
    chosen = [
        (name, facts[1])
        for name, facts in _files(folder).items()
        if not any(fnmatch.fnmatch(name, pattern) for pattern in exclude)
        and (name not in there or there[name][1] != facts[1] or there[name][0] < facts[0])
    ]
    total = sum(size for _, size in chosen)
    if max_size_bytes is not None and total > max_size_bytes:
        raise RuntimeError(
            f"the folder {folder!r} has {total} bytes to copy; at most {max_size_bytes} may be"
        )
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, _ in chosen:
            archive.add(os.path.join(folder, name), arcname=name)
    return buffer.getvalue()


def _unpack(data: bytes, folder: str) -> None:
    os.makedirs(folder, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        archive.extractall(folder, filter="data")


def _delete(path: str) -> bool:
    if not os.path.lexists(path):
        return False
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
    return True
