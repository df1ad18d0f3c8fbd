"""The short form of `./dev chaos [--serve]`: each fault once, and what the work under it must have come to."""

from __future__ import annotations

import random

import chaos_serve
import pytest
from chaos_proxy import Proxy
from chaos_run import FAULTS, run
from hosts import can_make_namespaces


def test_nothing_is_lost_run_twice_or_left_when_each_fault_happens_once(capsys):
    summary = run(seconds=1, seed=random.SystemRandom().randrange(1 << 31))
    with capsys.disabled():
        print("\n" + summary.text())
    assert not summary.violations, summary.text()
    assert set(summary.faults) == set(FAULTS)
    assert summary.counts["rounds"] >= 1


def test_serve_loses_only_what_was_under_way_on_what_died(capsys):
    summary = chaos_serve.run(seconds=1, seed=random.SystemRandom().randrange(1 << 31))
    with capsys.disabled():
        print("\n" + summary.text())
    assert not summary.violations, summary.text()
    assert set(summary.faults) == set(chaos_serve.FAULTS)


def test_hosts_of_their_own_whose_cables_are_pulled_lose_nothing(capsys):
    if not can_make_namespaces():
        pytest.skip("network namespaces cannot be made here: needs root and iproute2")
    kinds = ("cut_link_for_a_moment", "cut_link_for_long", "kill_node", "drain_node")
    summary = run(1, random.SystemRandom().randrange(1 << 31), namespaces=True, kinds=kinds)
    with capsys.disabled():
        print("\n" + summary.text())
    assert not summary.violations, summary.text()
    assert set(summary.faults) == set(kinds)
    assert summary.counts["rounds"] >= 1


def test_a_link_that_is_cut_holds_back_what_is_sent_until_it_heals():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy(f"127.0.0.1:{server.getsockname()[1]}")
        host, _, port = proxy.address.rpartition(":")
        with socket.create_connection((host, int(port)), 10) as near, server.accept()[0] as far:
            far.settimeout(10)
            near.sendall(b"before")
            assert far.recv(6) == b"before"
            proxy.cut()
            near.sendall(b"meanwhile")
            far.settimeout(0.3)
            try:
                early = far.recv(9)
            except TimeoutError:
                early = b""
            assert early == b""
            proxy.heal()
            far.settimeout(10)
            assert far.recv(9) == b"meanwhile"
        proxy.close()
