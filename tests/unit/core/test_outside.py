"""Addresses of clusters that are dialled from outside, and for how long a line may be broken."""

from __future__ import annotations

import pytest

from narke._private import outside


def test_only_schemes_name_a_cluster_to_be_dialled():
    assert outside.address_of("narke://h:6379") == outside.Outside("h:6379")
    assert outside.address_of("ray://[fd00::1]:10001/") == outside.Outside("[fd00::1]:10001")
    for other in ("h:6379", "auto", "/tmp/session", "http://h:1"):
        assert outside.address_of(other) is None


@pytest.mark.parametrize("address", ["ray://h", "ray://:1", "narke://h:0", "narke://h:65536", "ray://h:port"])
def test_half_an_address_is_refused(address):
    with pytest.raises(ValueError, match="is not of the form"):
        outside.address_of(address)


def test_the_grace_is_rays_variable_or_narkes(monkeypatch):
    monkeypatch.delenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", raising=False)
    monkeypatch.delenv("NARKE_CLIENT_RECONNECT_GRACE_PERIOD", raising=False)
    assert outside.grace_s() == 30
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "5")
    assert outside.grace_s() == 5
    monkeypatch.setenv("NARKE_CLIENT_RECONNECT_GRACE_PERIOD", "0.5")
    assert outside.grace_s() == 0.5


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "1e9"])
def test_a_grace_that_is_no_time_is_refused(monkeypatch, text):
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", text)
    with pytest.raises(ValueError, match="RAY_CLIENT_RECONNECT_GRACE_PERIOD"):
        outside.grace_s()
