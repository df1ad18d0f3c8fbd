"""Horovod's rendezvous on the workers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from narke.train.backend import Backend, BackendConfig

__all__ = ["HorovodConfig"]


@dataclass
class HorovodConfig(BackendConfig):
    """Settings of Horovod.

    Args:
        nics: network interfaces to use; any if None.
        verbose: 0 is quiet.
        key, ssh_port, ssh_identity_file, ssh_str: have no use: the workers are there already.
        timeout_s: for the rendezvous.
        placement_group_timeout_s: for the workers.
    """

    nics: set[str] | None = None
    verbose: int = 1
    key: str | None = None
    ssh_port: int | None = None
    ssh_identity_file: str | None = None
    ssh_str: str | None = None
    timeout_s: int = 300
    placement_group_timeout_s: int = 100

    @property
    def start_timeout(self) -> int:
        """Seconds for the rendezvous."""
        return self.timeout_s

    @property
    def backend_cls(self) -> type[Backend]:
        return _RendezvousBackend

    @property
    def framework(self) -> str:
        return "horovod"


class _RendezvousBackend(Backend):
    """Gloo's rendezvous, served by the controller's process."""

    _server: Any = None

    def on_start(self, worker_group: Any, backend_config: HorovodConfig) -> None:
        from horovod.runner.common.util.hosts import get_host_assignments, parse_hosts
        from horovod.runner.http.http_server import RendezvousServer

        import narke

        by_host: dict[str, int] = {}
        for worker in worker_group.workers:
            by_host[worker.info.node_ip] = by_host.get(worker.info.node_ip, 0) + 1
        hosts = parse_hosts(",".join(f"{host}:{count}" for host, count in by_host.items()))
        slots = get_host_assignments(hosts, len(worker_group))
        self._server = RendezvousServer(backend_config.verbose)
        port = self._server.start()
        self._server.init(slots)
        address = narke.util.get_node_ip_address()
        refs = [
            worker_group.execute_single_async(
                rank,
                os.environ.update,
                variables_of(worker, rank, len(worker_group), address, port, backend_config),
            )
            for rank, worker in enumerate(worker_group.workers)
        ]
        narke.get(refs, timeout=backend_config.timeout_s)

    def on_shutdown(self, worker_group: Any, backend_config: HorovodConfig) -> None:
        if self._server is not None:
            self._server.stop()


def variables_of(
    worker: Any, rank: int, size: int, address: str, port: int, config: HorovodConfig
) -> dict[str, str]:
    """The environment variables that tell Horovod of a worker's place.

    Args:
        worker: of the worker group.
        rank, size: of the worker, of the world.
        address, port: of the rendezvous.
        config: settings.
    """
    place = worker.place
    found = {
        "HOROVOD_HOSTNAME": worker.info.node_ip,
        "HOROVOD_RANK": rank,
        "HOROVOD_SIZE": size,
        "HOROVOD_LOCAL_RANK": place.local_rank,
        "HOROVOD_LOCAL_SIZE": place.local_world_size,
        "HOROVOD_CROSS_RANK": place.node_rank,
        "HOROVOD_CROSS_SIZE": max(1, size // place.local_world_size),
        "HOROVOD_GLOO_RENDEZVOUS_ADDR": address,
        "HOROVOD_GLOO_RENDEZVOUS_PORT": port,
        "HOROVOD_GLOO_TIMEOUT_SECONDS": config.timeout_s,
        "HOROVOD_CONTROLLER": "gloo",
        "HOROVOD_CPU_OPERATIONS": "gloo",
    }
    if config.nics:
        found["HOROVOD_GLOO_IFACE"] = sorted(config.nics)[0]
    return {name: str(value) for name, value in found.items()}
