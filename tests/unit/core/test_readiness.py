"""Which descriptors an event loop watches."""

import asyncio
import os
import types

import pytest

from narke._private import async_actor, readiness, session


@pytest.mark.parametrize("is_actor", [False, True])
def test_an_async_actor_keeps_its_own_reader_of_the_sockets(monkeypatch, is_actor):
    tokens, sockets = os.pipe(), os.pipe()
    native = types.SimpleNamespace(
        ready_fd=lambda: tokens[0], sockets_fd=lambda: sockets[0], poll=lambda: None
    )
    monkeypatch.setattr(session, "native", lambda: native)
    loop = asyncio.new_event_loop()
    monkeypatch.setattr(async_actor, "_runner", types.SimpleNamespace(loop=loop) if is_actor else None)
    try:
        readiness.watch_from_loop(loop)
        assert loop.remove_reader(tokens[0])
        assert loop.remove_reader(sockets[0]) is not is_actor
    finally:
        loop.close()
        for fd in (*tokens, *sockets):
            os.close(fd)
