"""What this machine has: CPUs, memory and GPUs, as far as this process may use them."""

from __future__ import annotations

import glob
import os
import socket

__all__ = [
    "cpu_count",
    "free_port",
    "gpu_count",
    "gpu_type",
    "memory_bytes",
    "object_store_bytes",
    "own_address",
]

_OBJECT_STORE_SHARE = 0.3
_MAX_STORE_BYTES = 200 << 30
_NO_LIMIT = 1 << 60


def cpu_count() -> int:
    """CPUs this process may use: its affinity and its control group's quota count. At least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    quota = _cpu_quota()
    return max(1, min(allowed, int(quota)) if quota is not None else allowed)


def _cpu_quota() -> float | None:
    words = _read("/sys/fs/cgroup/cpu.max").split()
    if len(words) == 2 and words[0] != "max":
        return float(words[0]) / float(words[1])
    quota, period = (
        _read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"),
        _read("/sys/fs/cgroup/cpu/cpu.cfs_period_us"),
    )
    if quota and period and int(quota) > 0:
        return int(quota) / int(period)
    return None


def memory_bytes() -> int:
    """Memory this process may use, in bytes: the machine's, or its control group's limit if that is smaller."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        text = _read(path)
        if text.isdigit() and int(text) < _NO_LIMIT:
            return min(total, int(text))
    return total


def object_store_bytes(memory: int) -> int:
    """Default size of the object store for a machine of that memory."""
    return min(int(memory * _OBJECT_STORE_SHARE), _MAX_STORE_BYTES)


def gpu_ids() -> list[str]:
    """GPUs this process may use, as CUDA_VISIBLE_DEVICES names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [
            entry.strip()
            for entry in visible.split(",")
            if entry.strip() and entry.strip() not in ("NoDevFiles", "-1")
        ]
    return [str(index) for index in range(len(glob.glob("/proc/driver/nvidia/gpus/*")))]


def gpu_count() -> int:
    """Number of GPUs this process may use."""
    return len(gpu_ids())


def gpu_type() -> str | None:
    """Model of the first GPU as `accelerator_type` names it, such as ``"H200"``; None without one."""
    files = sorted(glob.glob("/proc/driver/nvidia/gpus/*/information"))
    for line in _read(files[0]).splitlines() if files else ():
        if line.startswith("Model:"):
            words = [
                word
                for word in line.split(":", 1)[1].replace("NVIDIA", "").replace("Tesla", "").split()
                if word
            ]
            return words[0].partition("-")[0] if words else None
    return None


def own_address() -> str:
    """Address other machines would reach this one by; loopback when it has no route out. Sends nothing."""
    forced = os.environ.get("RAY_NODE_IP_ADDRESS")
    if forced:
        return forced
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("10.255.255.255", 1))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def free_port(ip: str) -> int:
    """A port of an address of this machine that nobody listens on now."""
    with socket.socket(socket.AF_INET6 if ":" in ip else socket.AF_INET) as probe:
        probe.bind((ip, 0))
        return int(probe.getsockname()[1])


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
