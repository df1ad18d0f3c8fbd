"""How many messages wait in a queue of a message broker."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

__all__ = ["check_broker", "queue_length"]

_ANSWER_S = 10.0
_KOMBU_STEPS = ("", "\x06\x163", "\x06\x166", "\x06\x169")  # Celery's lists for priorities 0, 3, 6 and 9


def check_broker(url: str) -> None:
    """Refuse a broker that cannot be asked.

    Raises:
        ValueError: it is neither Redis nor RabbitMQ.
    """
    if _scheme(url) not in ("redis", "rediss", "amqp", "amqps", "pyamqp"):
        raise ValueError(
            f"The broker {_scheme(url)}:// cannot be asked for the length of a queue: only redis and amqp can"
        )


def _scheme(url: str) -> str:
    return url.partition("://")[0]


def queue_length(url: str, queue: str, management_url: str | None = None) -> int:
    """Messages that wait in a queue; 0 where there is no such queue. Waits for the broker.

    Args:
        url: the broker's.
        queue: its name.
        management_url: of RabbitMQ's HTTP interface, with its user; port 15672 of the broker's host by default.

    Raises:
        ValueError: the broker cannot be asked.
        OSError, redis.RedisError: it does not answer.
    """
    check_broker(url)
    if _scheme(url) in ("redis", "rediss"):
        return _in_redis(url, queue)
    return _in_rabbitmq(url, queue, management_url)


def _in_redis(url: str, queue: str) -> int:
    import redis

    with redis.Redis.from_url(url, socket_timeout=_ANSWER_S, socket_connect_timeout=_ANSWER_S) as client:
        asked: Any = client
        if asked.type(queue) == b"stream":  # Taskiq's: what no group has acknowledged
            groups = asked.xinfo_groups(queue)
            return max((int(g["pending"]) + int(g.get("lag") or 0) for g in groups), default=0)
        return sum(int(asked.llen(queue + step)) for step in _KOMBU_STEPS)


def _in_rabbitmq(url: str, queue: str, management_url: str | None) -> int:
    broker = urllib.parse.urlsplit(url)
    user = f"{broker.username or 'guest'}:{broker.password or 'guest'}"
    management = urllib.parse.urlsplit(management_url or f"http://{user}@{broker.hostname}:15672/api/")
    vhost = urllib.parse.quote(urllib.parse.unquote(broker.path[1:]) or "/", safe="")
    port = f":{management.port}" if management.port else ""
    path = f"{management.path.rstrip('/')}/queues/{vhost}/{urllib.parse.quote(queue, safe='')}"
    request = urllib.request.Request(f"{management.scheme}://{management.hostname}{port}{path}")
    login = f"{management.username or 'guest'}:{management.password or 'guest'}"
    request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    try:
        with urllib.request.urlopen(request, timeout=_ANSWER_S) as answer:
            return int(json.load(answer).get("messages") or 0)
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return 0
        raise
