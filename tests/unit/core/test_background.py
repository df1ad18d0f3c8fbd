"""Threads of Narke's own that outlive their session begin no other."""

import threading

import pytest

from narke import exceptions
from narke._private import session


def test_a_thread_in_the_background_begins_no_session(monkeypatch):
    monkeypatch.setattr(session, "_session", None)
    raised = []

    def work():
        with session.Background(), pytest.raises(exceptions.RaySystemError) as error:
            session.connected()
        raised.append(error.value)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    assert len(raised) == 1
    assert session.current() is None
    assert not session.is_in_background()
