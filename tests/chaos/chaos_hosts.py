"""Where the nodes of the cluster under chaos are: all on loopback, or each in a network namespace of its own."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from collections.abc import Iterator

__all__ = ["LOOPBACK", "Hosts", "Place"]

_numbers = itertools.count()


class Place:
    """Where a node runs.

    Attributes:
        address: of the node.
        inside: words that a command there begins with.
    """

    def __init__(self, address: str = "127.0.0.1", namespace: str = "", device: str = "") -> None:
        self.address = address
        self._namespace = namespace
        self._device = device
        self.inside = ["ip", "netns", "exec", namespace] if namespace else []

    def cut(self) -> None:
        """From now on no packet comes from or to this host."""
        _ip("link", "set", self._device, "down")

    def heal(self) -> None:
        """The cable is plugged in again."""
        _ip("link", "set", self._device, "up")

    def close(self) -> None:
        """Remove the host."""
        subprocess.run(["ip", "netns", "del", self._namespace], check=False, capture_output=True)


LOOPBACK = Place()


class Hosts:
    """A bridge of this machine, and hosts on it: network namespaces with an address each."""

    def __init__(self) -> None:
        self._tag = f"{os.getpid()}{next(_numbers)}"
        self._bridge = f"nc{self._tag}"
        self._next = itertools.count(1)
        self._places: list[Place] = []

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> Iterator[Hosts]:
        """The bridge while the block runs, and all hosts that are added."""
        hosts = cls()
        _ip("link", "add", hosts._bridge, "type", "bridge")
        try:
            _ip("link", "set", hosts._bridge, "up")
            yield hosts
        finally:
            for place in hosts._places:
                place.close()
            subprocess.run(["ip", "link", "del", hosts._bridge], check=False, capture_output=True)

    def add(self) -> Place:
        """One more host."""
        number = next(self._next)
        namespace, device, address = f"nc{self._tag}h{number}", f"v{self._tag}h{number}", f"10.214.0.{number}"
        _ip("netns", "add", namespace)
        place = Place(address, namespace, device)
        self._places.append(place)
        _ip("link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        for words in (("link", "set", "lo", "up"), ("addr", "add", f"{address}/24", "dev", "eth0")):
            _ip("-n", namespace, *words)
        _ip("-n", namespace, "link", "set", "eth0", "up")
        _ip("link", "set", device, "master", self._bridge, "up")
        return place


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
