"""Small tools."""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from narke.tune._naming import dirname_stamp

__all__ = [
    "START_OF_TIME",
    "Tee",
    "UtilMonitor",
    "date_str",
    "diagnose_serialization",
    "retry_fn",
    "validate_save_restore",
    "validate_warmstart",
    "wait_for_gpu",
    "warn_if_slow",
]

logger = logging.getLogger(__name__)
START_OF_TIME = time.time()
PINNED_OBJECT_PREFIX = "ray.tune.PinnedObject:"


class Tee:
    """A stream that writes to two streams; what is asked of it is the first's answer.

    Args:
        stream1, stream2: they.
    """

    def __init__(self, stream1: Any, stream2: Any) -> None:
        self.stream1 = stream1
        self.stream2 = stream2

    def write(self, *args: Any, **kwargs: Any) -> Any:
        """Write to both."""
        written = self.stream1.write(*args, **kwargs)
        self.stream2.write(*args, **kwargs)
        return written

    def flush(self, *args: Any, **kwargs: Any) -> None:
        """Flush both."""
        self.stream1.flush(*args, **kwargs)
        self.stream2.flush(*args, **kwargs)

    def read(self, *args: Any, **kwargs: Any) -> Any:
        """Read from the first."""
        return self.stream1.read(*args, **kwargs)

    def readline(self, *args: Any, **kwargs: Any) -> Any:
        """Read a line from the first."""
        return self.stream1.readline(*args, **kwargs)

    def seek(self, *args: Any, **kwargs: Any) -> Any:
        """Seek in the first."""
        return self.stream1.seek(*args, **kwargs)

    def tell(self, *args: Any, **kwargs: Any) -> Any:
        """The place in the first."""
        return self.stream1.tell(*args, **kwargs)

    def detach(self) -> Any:
        """Detach the first."""
        return self.stream1.detach()

    @property
    def encoding(self) -> Any:
        """The first's encoding."""
        return self.stream1.encoding

    @property
    def error(self) -> Any:
        """The first's way with encoding errors."""
        return self.stream1.errors

    @property
    def newlines(self) -> Any:
        """The first's line ends."""
        return self.stream1.newlines

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream1, name)


class UtilMonitor(threading.Thread):
    """Measures the use of this machine's CPUs, memory and GPUs in a thread of its own.

    Args:
        start: whether to begin.
        delay: seconds between measurements.
    """

    def __init__(self, start: bool = True, delay: float = 0.7) -> None:
        super().__init__(name="util-monitor", daemon=True)
        self.stopped = True
        self.delay = delay
        self.values: dict[str, list[float]] = {}
        self.lock = threading.Lock()
        self.GPUtil = None
        if start:
            self.stopped = False
            self.start()

    def _measure(self) -> None:
        try:
            import psutil
        except ImportError:
            return
        with self.lock:
            self.values.setdefault("cpu_util_percent", []).append(float(psutil.cpu_percent(interval=None)))
            memory = psutil.virtual_memory().percent
            self.values.setdefault("ram_util_percent", []).append(float(memory))

    def get_data(self) -> dict[str, Any]:
        """Return the means since the last call, under "perf"; {} while stopped."""
        if self.stopped:
            return {}
        with self.lock:
            means = {key: sum(each) / len(each) for key, each in self.values.items() if each}
            self.values = {}
        return {"perf": means} if means else {}

    def run(self) -> None:
        """Measure until stopped."""
        while not self.stopped:
            self._measure()
            time.sleep(self.delay)

    def stop(self) -> None:
        """End."""
        self.stopped = True


class warn_if_slow:
    """Warns when the block in ``with warn_if_slow(name):`` takes long.

    Args:
        name: of what is done.
        threshold: seconds.
        message: in place of the usual; may hold {name} and {duration}.
        disable: warn never.
    """

    DEFAULT_THRESHOLD = 0.5
    DEFAULT_MESSAGE = "The `{name}` operation took {duration:.3f} s, which may be a performance bottleneck."

    def __init__(
        self, name: str, threshold: float | None = None, message: str | None = None, disable: bool = False
    ) -> None:
        self.name = name
        self.threshold = threshold or self.DEFAULT_THRESHOLD
        self.message = message or self.DEFAULT_MESSAGE
        self.too_slow = False
        self.disable = disable

    def __enter__(self) -> warn_if_slow:
        self.start = time.monotonic()
        return self

    def __exit__(self, type: Any, value: Any, traceback: Any) -> None:
        took_s = time.monotonic() - self.start
        self.too_slow = took_s > self.threshold
        if self.too_slow and not self.disable and not type:
            logger.warning(self.message.format(name=self.name, duration=took_s))


def date_str() -> str:
    """The local time as it stands in names of files."""
    return dirname_stamp(time.time())


def retry_fn(
    fn: Callable[[], Any],
    exception_type: type[Exception] | tuple[type[Exception], ...] = Exception,
    num_retries: int = 3,
    sleep_time: int = 1,
    timeout: float | None = None,
) -> bool:
    """Call a function until it succeeds.

    Args:
        fn: the function.
        exception_type: errors after which it is called again.
        num_retries: how often it is called at most.
        sleep_time: seconds between calls.
        timeout: seconds for each call.

    Returns:
        whether a call succeeded.
    """
    for attempt in range(num_retries):
        outcome: list[Any] = []

        def call(outcome: list[Any] = outcome) -> None:
            try:
                fn()
                outcome.append(None)
            except BaseException as failure:
                outcome.append(failure)

        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        thread.join(timeout)
        error = outcome[0] if outcome else TimeoutError(f"no answer within {timeout} s")
        if error is None:
            return True
        if outcome and not isinstance(error, exception_type):
            raise error
        logger.debug("attempt %d failed: %s", attempt + 1, error)
        if attempt + 1 < num_retries:
            time.sleep(sleep_time)
    return False


def diagnose_serialization(trainable: Callable) -> Any:
    """Find what in a trainable cannot be sent to workers.

    Returns:
        True if all of it can, else the objects that cannot.
    """
    from narke.util.check_serialize import inspect_serializability

    serializable, failures = inspect_serializability(trainable)
    return True if serializable else failures


def validate_save_restore(
    trainable_cls: type, config: dict | None = None, num_gpus: int = 0, use_object_store: bool = False
) -> bool:
    """See that trials of a class go on from their checkpoints.

    Args:
        trainable_cls: derived from `Trainable`.
        config: the configuration.
        num_gpus: GPUs of a trial.
        use_object_store: send checkpoints through the object store.

    Returns:
        True.

    Raises:
        AssertionError: a trial does not go on where its checkpoint was made.
    """
    import narke

    remote: Any = narke.remote(num_cpus=1, num_gpus=num_gpus)(trainable_cls)
    first, second = remote.remote(config=copy.deepcopy(config)), remote.remote(config=copy.deepcopy(config))
    try:
        for _ in range(3):
            narke.get(first.train.remote())
        if use_object_store:
            narke.get(second.restore_from_object.remote(narke.get(first.save_to_object.remote())))
        else:
            narke.get(second.restore.remote(narke.get(first.save.remote())))
        result = narke.get(second.train.remote())
        assert result["training_iteration"] == 4, (
            f"iteration after restore: {result['training_iteration']}, not 4"
        )
    finally:
        narke.kill(first)
        narke.kill(second)
    return True


def validate_warmstart(
    parameter_names: list[str],
    points_to_evaluate: list[list | dict],
    evaluated_rewards: list,
    validate_point_name_lengths: bool = True,
) -> None:
    """Refuse points and rewards given beforehand that do not fit.

    Raises:
        TypeError: they are of the wrong kind.
        ValueError: they are not as many, or points have other parameters.
    """
    if points_to_evaluate:
        if not isinstance(points_to_evaluate, list):
            raise TypeError(f"points_to_evaluate expected to be a list, got {type(points_to_evaluate)}.")
        for point in points_to_evaluate:
            if not isinstance(point, (dict, list)):
                raise TypeError(f"points_to_evaluate expected to include list or dict, got {point}.")
            if validate_point_name_lengths and len(point) != len(parameter_names):
                raise ValueError(f"Dim of point {point} and parameter_names {parameter_names} do not match.")
    if points_to_evaluate and evaluated_rewards:
        if not isinstance(evaluated_rewards, list):
            raise TypeError(f"evaluated_rewards expected to be a list, got {type(evaluated_rewards)}.")
        if len(evaluated_rewards) != len(points_to_evaluate):
            raise ValueError(
                f"Dim of evaluated_rewards {evaluated_rewards} and points_to_evaluate {points_to_evaluate} "
                "do not match."
            )


def wait_for_gpu(
    gpu_id: int | str | None = None,
    target_util: float = 0.01,
    retry: int = 20,
    delay_s: int = 5,
    gpu_memory_limit: float | None = None,
) -> bool:
    """Wait until a GPU's memory is nearly free, for instance because the trial before still lets go of it.

    Args:
        gpu_id: index or UUID; the first of this worker's GPUs if None.
        target_util: the greatest used fraction of memory.
        retry: how often to look.
        delay_s: seconds between looks.
        gpu_memory_limit: kept for programs that pass it.

    Returns:
        True.

    Raises:
        RuntimeError: there is no GPU, nvidia-smi is missing, or the memory stayed in use.
    """
    import subprocess

    import narke

    if gpu_id is None:
        ids = narke.get_gpu_ids()
        if not ids:
            raise RuntimeError(
                "No GPU ids found from `ray.get_gpu_ids()`. Did you set Tune resources correctly?"
            )
        gpu_id = ids[0]
    query = [
        "nvidia-smi",
        f"--id={gpu_id}",
        "--query-gpu=memory.used,memory.total",
        "--format=csv,noheader,nounits",
    ]
    used = total = 0.0
    for _ in range(int(retry)):
        try:
            answer = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
        except (OSError, subprocess.SubprocessError) as error:
            raise RuntimeError(f"nvidia-smi did not tell the memory of GPU {gpu_id}: {error}") from error
        used, total = (float(part) for part in answer.strip().split(","))
        if used / total <= target_util:
            return True
        logger.info("waiting for GPU %s: %.0f of %.0f MiB used", gpu_id, used, total)
        time.sleep(delay_s)
    raise RuntimeError(f"GPU {gpu_id} still uses {used:.0f} of {total:.0f} MiB after {retry} looks")
