"""Slow tasks, dying workers, pools that grow and shrink, and what users are told of executions."""

import contextlib
import os
import pathlib
import signal
import time

import numpy as np
import pytest
import ray
from once import first_time
from ray.data import ActorPoolStrategy, DataContext

from narke.data.execute import callbacks, operators, pool

DEADLINE_S = 60


def wait_for(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@pytest.fixture
def context():
    with DataContext.current(DataContext.get_current().copy()) as own:
        yield own


def test_a_slow_task_is_started_twice_and_counts_once(tmp_path, monkeypatch):
    monkeypatch.setattr(operators, "STRAGGLER_S", 0.2)

    def slow_once(batch):
        if 5 in batch["id"] and first_time(tmp_path / "begun"):
            wait_for((tmp_path / "never").exists, "it was not stopped")
        return {"id": batch["id"], "n": batch["id"] * 2}

    ds = ray.data.range(100, override_num_blocks=10).map_batches(slow_once)
    rows = ds.take_all()
    assert [row["id"] for row in rows] == list(range(100))
    assert [row["n"] for row in rows] == list(range(0, 200, 2))
    assert "started twice" in ds.stats()


def test_a_writing_task_is_not_started_twice(tmp_path, monkeypatch):
    monkeypatch.setattr(operators, "STRAGGLER_S", 0.0)
    slow = lambda batch: (time.sleep(0.3 if 5 in batch["id"] else 0.0), batch)[1]  # noqa: E731
    ds = ray.data.range(100, override_num_blocks=10).map_batches(slow)
    plans = []
    original = operators.TaskOp.speculate
    monkeypatch.setattr(operators.TaskOp, "speculate", lambda op, factor: plans.append(original(op, 0.1)))
    ds.write_parquet(str(tmp_path / "out"))
    assert not any(plans)
    assert ray.data.read_parquet(str(tmp_path / "out")).count() == 100


def kill_once(path):
    """End this process without a word, the first time that this is called with the path."""
    if first_time(path):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("operator", ["sort", "random_shuffle", "groupby", "repartition", "join"])
def test_workers_that_die_in_a_shuffle_change_nothing(tmp_path, operator):
    rng = np.random.default_rng(1)
    values = rng.permutation(20_000)

    def table(batch):
        return {"x": values[batch["id"]], "y": batch["id"] % 7}

    whole = ray.data.range(20_000, override_num_blocks=8).map_batches(table).materialize()
    seen = whole.map_batches(lambda b: (kill_once(tmp_path / "map"), b)[1])
    made = {
        "sort": lambda: seen.sort("x"),
        "random_shuffle": lambda: seen.random_shuffle(seed=3),
        "groupby": lambda: seen.groupby("y").sum("x"),
        "repartition": lambda: seen.repartition(5, shuffle=True),
        "join": lambda: seen.join(whole.rename_columns({"y": "z"}), "full_outer", 5, on=("x",)),
    }[operator]()
    after = made.map_batches(lambda b: (kill_once(tmp_path / "after"), b)[1]).to_pandas()
    assert (tmp_path / "map").exists() and (tmp_path / "after").exists()
    if operator == "groupby":
        want = whole.to_pandas().groupby("y", as_index=False)["x"].sum()
        assert after["sum(x)"].tolist() == want["x"].tolist()
    else:
        assert sorted(after["x"]) == list(range(20_000))
        assert operator != "join" or after["y"].tolist() == after["z"].tolist()
        assert operator != "sort" or after["x"].tolist() == list(range(20_000))


def test_a_worker_killed_while_it_partitions(tmp_path, monkeypatch):
    def locate(batch):
        pathlib.Path(tmp_path / f"pid{os.getpid()}").touch()
        if 0 in batch["id"] and first_time(tmp_path / "first"):
            wait_for((tmp_path / "killed").exists, "nobody killed it")
        return {"id": batch["id"][::-1].copy()}

    @ray.remote(num_cpus=0)
    def kill():
        wait_for((tmp_path / "first").exists, "nobody has begun")
        # A worker that has partitioned may run this: killed by itself it would begin anew, and kill all others again.
        for pid in {int(path.name[3:]) for path in tmp_path.glob("pid*")} - {os.getpid()}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        pathlib.Path(tmp_path / "killed").touch()

    killer = kill.remote()
    got = ray.data.range(40_000, override_num_blocks=8).map_batches(locate).sort("id", descending=True)
    assert [r["id"] for r in got.iter_rows()] == list(range(39_999, -1, -1))
    ray.get(killer)


def test_a_pool_grows_with_its_queue_and_shrinks_when_it_is_idle(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(pool, "IDLE_S", 0.05)
    scale = pool.PoolOp._scale

    def watched(self):
        scale(self)
        sizes.append(self.size)

    monkeypatch.setattr(pool.PoolOp, "_scale", watched)

    class Slow:
        def __call__(self, batch):
            time.sleep(0.02)
            return batch

    def trickle(batch):
        if batch["id"][0] >= 3000:
            time.sleep(0.5)
        return batch

    ds = ray.data.range(3600, override_num_blocks=36)
    ds = ds.map_batches(trickle, concurrency=1).map_batches(Slow, concurrency=(1, 3), num_cpus=0.1)
    assert ds.count() == 3600
    assert max(sizes) > 1
    assert min(sizes[sizes.index(max(sizes)) :]) < max(sizes)


def test_calls_of_an_actor_at_the_same_time_take_turns_unless_told_otherwise():
    class Counts:
        def __init__(self):
            self.inside = self.most = 0

        def __call__(self, batch):
            self.inside += 1
            self.most = max(self.most, self.inside)
            time.sleep(0.05)
            self.inside -= 1
            return {"most": [self.most]}

    def most(**options):
        strategy = ActorPoolStrategy(size=1, max_concurrent_calls_per_actor=4, **options)
        strategy.max_tasks_in_flight_per_actor = 8
        ds = ray.data.range(16, override_num_blocks=16).map_batches(Counts, compute=strategy)
        return ds.max("most")

    assert most() == 1
    assert most(enable_true_multi_threading=True) > 1


def test_a_constructor_is_tried_again_when_asked(tmp_path, context):
    class Late:
        def __init__(self):
            if first_time(tmp_path / "begun"):
                raise ConnectionError("not yet")

        def __call__(self, batch):
            return batch

    context.actor_init_retry_on_errors = [ConnectionError]
    assert ray.data.range(4).map_batches(Late).count() == 4


def test_waiting_for_actors_that_cannot_come_ends(context):
    class Idle:
        def __call__(self, batch):
            return batch

    context.wait_for_min_actors_s = 0
    with pytest.raises(ray.exceptions.GetTimeoutError, match="least number of actors"):
        ray.data.range(4).map_batches(Idle, concurrency=2, resources={"nowhere": 1}).take_all()
    context.wait_for_min_actors_s = 30
    assert len(ray.data.range(4).map_batches(Idle, concurrency=2).take_all()) == 4


def test_no_progress_is_an_error(context, tmp_path):
    context.execution_no_progress_timeout_s = 0.5
    stuck = ray.data.range(4).map_batches(lambda b: wait_for((tmp_path / "never").exists, "stuck"))
    with pytest.raises(Exception, match="no progress for 0.5 s"):
        stuck.take_all()


def test_the_original_error_is_raised_when_asked(context):
    class Mine(Exception):
        pass

    def fail(batch):
        raise Mine("here")

    context.raise_original_map_exception = True
    with pytest.raises(Exception) as caught:
        ray.data.range(4).map_batches(fail).take_all()
    assert type(caught.value).__name__ == "Mine" and str(caught.value) == "here"
    assert not isinstance(caught.value, ray.exceptions.RayTaskError)


class Watching(callbacks.ExecutionCallback):
    seen: list = []

    def before_execution_starts(self, executor):
        self.seen.append("begins")

    def on_execution_step(self, executor):
        self.seen.append("step")

    def after_execution_succeeds(self, executor):
        self.seen.append("succeeds")

    def after_execution_fails(self, executor, error):
        self.seen.append(f"fails with {type(error).__name__}")


def test_callbacks_are_told_of_executions(context, monkeypatch):
    context.custom_execution_callback_classes.append(Watching)
    Watching.seen.clear()
    ray.data.range(4).take_all()
    assert (Watching.seen[0], Watching.seen[1], Watching.seen[-1]) == ("begins", "step", "succeeds")
    Watching.seen.clear()
    with pytest.raises(Exception, match="division"):
        ray.data.range(4).map(lambda row: {"x": 1 // 0}).take_all()
    assert Watching.seen[-1].startswith("fails with")
    context.custom_execution_callback_classes.clear()
    monkeypatch.setenv("RAY_DATA_EXECUTION_CALLBACKS", "narke.data.execute.callbacks.ExecutionCallback")
    assert context.execution_callback_classes == [callbacks.ExecutionCallback]


def test_stats_are_logged_when_asked(context, caplog):
    context.enable_auto_log_stats = True
    context.set_dataset_logger_id("mine")
    with caplog.at_level("INFO", logger="narke.data"):
        ray.data.range(4).take_all()
    assert "mine: " in caplog.text and "4 rows" in caplog.text


def test_defaults_by_name():
    from ray.data import context as settings

    assert settings.DEFAULT_TARGET_MAX_BLOCK_SIZE == 128 * 1024 * 1024
    assert settings.DEFAULT_ACTOR_POOL_UTIL_UPSCALING_THRESHOLD == 1.75
    assert settings.DEFAULT_LANCE_READ_FRAGMENTS_ERRORS_TO_RETRY == ("LanceError(IO)",)
    assert settings.DEFAULT_VERBOSE_STATS_LOG is False
    with pytest.raises(AttributeError):
        settings.DEFAULT_NOTHING  # noqa: B018
