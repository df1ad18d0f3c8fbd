"""Kafka topics, through confluent-kafka."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from narke.data import blocks as blk
from narke.data.block import BlockMetadata
from narke.data.blocks import Block
from narke.data.datasource.datasink import Datasink, TaskContext
from narke.data.datasource.datasource import Datasource, ReadTask
from narke.data.datasource.media import needed

ASK_S = 10.0
CONSUME_S = 1.0
MESSAGES = 4096
SCHEMA = pa.schema(
    [
        ("offset", pa.int64()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("timestamp", pa.int64()),
        ("timestamp_type", pa.int32()),
        ("headers", pa.map_(pa.string(), pa.binary())),
    ]
)
_SETTINGS = {
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "sasl_kerberos_service_name": "sasl.kerberos.service.name",
    "sasl_kerberos_name": "sasl.kerberos.principal",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "ssl_password": "ssl.key.password",
    "ssl_ciphers": "ssl.cipher.suites",
    "ssl_crlfile": "ssl.crl.location",
}


@dataclasses.dataclass
class KafkaAuthConfig:
    """How to log in, by kafka-python's names; `consumer_config` and `producer_config` take the client's own.

    sasl_kerberos_domain_name, sasl_oauth_token_provider, ssl_context and ssl_check_hostname have no counterpart in the
    client: giving one is an error.
    """

    security_protocol: str | None = None
    sasl_mechanism: str | None = None
    sasl_plain_username: str | None = None
    sasl_plain_password: str | None = dataclasses.field(default=None, repr=False)
    sasl_kerberos_name: str | None = None
    sasl_kerberos_service_name: str | None = None
    sasl_kerberos_domain_name: str | None = None
    sasl_oauth_token_provider: Any = None
    ssl_context: Any = None
    ssl_check_hostname: bool | None = None
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: str | None = dataclasses.field(default=None, repr=False)
    ssl_ciphers: str | None = None
    ssl_crlfile: str | None = None

    def settings(self) -> dict[str, Any]:
        """The client's settings.

        Raises:
            ValueError: a field is given that the client has no setting for.
        """
        given = {name: value for name, value in vars(self).items() if value is not None}
        odd = sorted(set(given) - set(_SETTINGS))
        if odd:
            raise ValueError(
                f"KafkaAuthConfig: the client has no settings for {odd}; use consumer_config for its own"
            )
        return {_SETTINGS[name]: value for name, value in given.items()}


class KafkaSource(Datasource):
    """Messages between two offsets of each partition of topics, a task a partition.

    Args:
        topics: names. settings: of the client. start, end: "earliest", "latest", an offset, or a time; or dicts of such
            by topic and partition. longest_s: of one task, in seconds; None for as long as it takes.
    """

    def __init__(self, topics: Any, settings: dict[str, Any], start: Any, end: Any, longest_s: float | None):
        self._topics = [topics] if isinstance(topics, str) else list(topics)
        self._settings = {"group.id": "narke-data", "enable.auto.commit": False, **settings}
        self._start, self._end, self._longest_s = start, end, longest_s

    def get_name(self) -> str:
        return "Kafka"

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        kafka = needed("confluent_kafka", "confluent-kafka", "reading Kafka")
        consumer = kafka.Consumer(self._settings)
        try:
            return [
                self._task(kafka, consumer, topic, p)
                for topic in self._topics
                for p in _partitions(consumer, topic)
            ]
        finally:
            consumer.close()

    def _task(self, kafka: Any, consumer: Any, topic: str, partition: int) -> ReadTask:
        place = kafka.TopicPartition(topic, partition)
        low, high = consumer.get_watermark_offsets(place, timeout=ASK_S)
        start = _offset(kafka, consumer, place, _own(self._start, topic, partition, "earliest"), low, high)
        end = _offset(kafka, consumer, place, _own(self._end, topic, partition, "latest"), low, high)
        read = _Messages(self._settings, topic, partition, max(low, start), min(high, end), self._longest_s)
        return ReadTask(read, BlockMetadata(None, None, None), SCHEMA)


def _partitions(consumer: Any, topic: str) -> list[int]:
    about = consumer.list_topics(topic, timeout=ASK_S).topics[topic]
    if about.error is not None:
        raise ValueError(f"the Kafka topic {topic!r} cannot be read: {about.error}")
    return sorted(about.partitions)


def _own(given: Any, topic: str, partition: int, otherwise: str) -> Any:
    """What is given for one partition."""
    if isinstance(given, dict) and any(isinstance(key, str) for key in given):
        given = given.get(topic, otherwise)
    return given.get(partition, otherwise) if isinstance(given, dict) else given


def _offset(kafka: Any, consumer: Any, place: Any, given: Any, low: int, high: int) -> int:
    """The offset that is meant."""
    known = {"earliest": low, "latest": high}
    if given in known:
        return known[given]
    if isinstance(given, datetime.datetime):
        at = kafka.TopicPartition(place.topic, place.partition, int(given.timestamp() * 1000))
        found = consumer.offsets_for_times([at], timeout=ASK_S)[0].offset
        return found if found >= 0 else high
    if isinstance(given, int) and given >= 0:
        return given
    raise ValueError(f"a Kafka offset must be 'earliest', 'latest', a number or a time, not {given!r}")


@dataclasses.dataclass
class _Messages:
    """Reads one partition from an offset to before another."""

    settings: dict[str, Any]
    topic: str
    partition: int
    start: int
    end: int
    longest_s: float | None

    def __call__(self) -> Iterator[pa.Table]:
        kafka = needed("confluent_kafka", "confluent-kafka", "reading Kafka")
        consumer = kafka.Consumer(self.settings)
        held: list[dict[str, Any]] = []
        gave = False
        try:
            consumer.assign([kafka.TopicPartition(self.topic, self.partition, self.start)])
            for message in self._until_end(kafka, consumer):
                held.append(_row(message))
                if len(held) == MESSAGES:
                    yield pa.Table.from_pylist(held, SCHEMA)
                    held, gave = [], True
        finally:
            consumer.close()
        if held or not gave:
            yield pa.Table.from_pylist(held, SCHEMA)

    def _until_end(self, kafka: Any, consumer: Any) -> Iterator[Any]:
        position = self.start
        stop_s = None if self.longest_s is None else time.monotonic() + self.longest_s
        while position < self.end and (stop_s is None or time.monotonic() < stop_s):
            for message in consumer.consume(min(MESSAGES, self.end - position), timeout=CONSUME_S):
                if message.error() is not None:
                    raise kafka.KafkaException(message.error())
                if message.offset() >= self.end:
                    return
                position = message.offset() + 1
                yield message
            position = max(position, _position(consumer, kafka, self.topic, self.partition))


def _position(consumer: Any, kafka: Any, topic: str, partition: int) -> int:
    """Where the client is: it passes over offsets that hold no message, such as marks of transactions."""
    return consumer.position([kafka.TopicPartition(topic, partition)])[0].offset


def _row(message: Any) -> dict[str, Any]:
    kind, at_ms = message.timestamp()
    return {
        "offset": message.offset(),
        "key": message.key(),
        "value": message.value(),
        "topic": message.topic(),
        "partition": message.partition(),
        "timestamp": at_ms,
        "timestamp_type": kind,
        "headers": list(message.headers() or []),
    }


SERIALIZERS: dict[str, Callable[[Any], bytes]] = {
    "json": lambda value: json.dumps(value, default=lambda odd: odd.tolist()).encode(),
    "string": lambda value: str(value).encode(),
    "bytes": lambda value: value if isinstance(value, bytes) else str(value).encode(),
}


class KafkaSink(Datasink[int]):
    """A topic that rows are sent to, a message each; every message is acknowledged before a task ends.

    Args:
        key: column of the keys, or None. key_as, value_as: how they are written, see `SERIALIZERS`.
    """

    def __init__(self, topic: str, settings: dict[str, Any], key: str | None, key_as: str, value_as: str):
        for kind in (key_as, value_as):
            if kind not in SERIALIZERS:
                raise ValueError(
                    f"key_serializer and value_serializer must be of {sorted(SERIALIZERS)}, not {kind!r}"
                )
        self._topic, self._settings, self._key = topic, settings, key
        self._key_as, self._value_as = key_as, value_as

    def get_name(self) -> str:
        return "Kafka"

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> int:
        producer = needed("confluent_kafka", "confluent-kafka", "writing Kafka").Producer(self._settings)
        errors: list[Any] = []
        sent = 0
        for block in blocks:
            for row in blk.iter_rows(block):
                self._send(producer, row, lambda error, _: errors.append(error) if error else None)
                sent += 1
        left = producer.flush(ASK_S * 6)
        if errors or left:
            raise RuntimeError(
                f"{len(errors) + left} of {sent} messages did not reach the Kafka topic {self._topic!r}: {errors[:1]}"
            )
        return sent

    def _send(self, producer: Any, row: dict[str, Any], told: Any) -> None:
        key = row.get(self._key) if self._key else None
        value = SERIALIZERS[self._value_as](row)
        data = None if key is None else SERIALIZERS[self._key_as](key)
        while True:
            try:
                producer.produce(self._topic, value=value, key=data, on_delivery=told)
                producer.poll(0)
                return
            except BufferError:  # the client's queue is full
                producer.poll(CONSUME_S)
