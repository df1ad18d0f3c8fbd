"""As many replicas as a queue of tasks needs."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from narke.serve._private.brokers import check_broker, queue_length
from narke.serve.config import AutoscalingContext

__all__ = ["DEFAULT_ASYNC_INFERENCE_QUEUE_POLL_INTERVAL_S", "AsyncInferenceAutoscalingPolicy"]

logger = logging.getLogger("ray.serve")
DEFAULT_ASYNC_INFERENCE_QUEUE_POLL_INTERVAL_S = 10.0


class AsyncInferenceAutoscalingPolicy:
    """Counts the messages that wait in a broker's queue as requests, for deployments that are task consumers.

    The broker is asked on a thread that ends with its answer: the autoscaler never waits for it.
    """

    def __init__(
        self,
        broker_url: str,
        queue_name: str,
        rabbitmq_management_url: str | None = None,
        poll_interval_s: float = DEFAULT_ASYNC_INFERENCE_QUEUE_POLL_INTERVAL_S,
    ) -> None:
        """Remember what to ask.

        Args:
            broker_url: ``redis://...`` or ``amqp://...``.
            queue_name: the queue.
            rabbitmq_management_url: RabbitMQ's HTTP interface, such as ``http://guest:guest@host:15672/api/``.
            poll_interval_s: seconds between two questions.

        Raises:
            ValueError: the broker cannot be asked.
        """
        check_broker(broker_url)
        self._asked = broker_url, queue_name, rabbitmq_management_url
        self._interval_s = poll_interval_s
        self._next = 0.0
        self._length = 0
        self._poll: threading.Thread | None = None

    def __call__(self, ctx: AutoscalingContext) -> tuple[int | float, dict[str, Any]]:
        """The number of replicas at which each has the target number of requests and messages; unrounded."""
        if time.monotonic() >= self._next and (self._poll is None or not self._poll.is_alive()):
            self._next = time.monotonic() + self._interval_s
            self._poll = threading.Thread(target=self._ask, name="queue-length", daemon=True)
            self._poll.start()
        work = ctx.total_num_requests + self._length
        seen = {"queue_length": self._length}
        if ctx.current_num_replicas == 0:
            return (1 if work > 0 else 0), seen
        return work / ctx.config.get_target_ongoing_requests(), seen

    def _ask(self) -> None:
        try:
            self._length = queue_length(*self._asked)
        except Exception as error:  # whatever the broker's client raises: the last number holds
            logger.warning("The length of the queue %r is not known: %s", self._asked[1], error)
