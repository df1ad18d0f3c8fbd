"""How datasets run: what they hold back, and what they share."""

import os

import ray


def marked(folder):
    """A function over batches that leaves a file for each call."""

    def mark(batch):
        (folder / str(int(batch["id"][0]))).touch()
        return batch

    return mark


def test_reading_waits_for_the_consumer(tmp_path):
    ds = ray.data.range(200, override_num_blocks=200).map_batches(marked(tmp_path))
    ds.context.execution_options.resource_limits.object_store_memory = 1.0
    batches = iter(ds.iter_batches(batch_size=1, prefetch_batches=0))
    assert next(batches)["id"].tolist() == [0]
    batches.close()
    assert len(os.listdir(tmp_path)) < 50


def test_a_limit_stops_what_is_before_it(tmp_path):
    ds = ray.data.range(400, override_num_blocks=400).map_batches(marked(tmp_path))
    assert len(ds.limit(3).take_all()) == 3
    assert len(os.listdir(tmp_path)) < 200


def test_pools_that_hold_all_cpus_do_not_stop_the_reading():
    class Keep:
        def __call__(self, batch):
            return batch

    ds = ray.data.range(100, override_num_blocks=10).map_batches(Keep, concurrency=4, num_cpus=1)
    assert ds.map_batches(lambda b: b).count() == 100


def test_large_outputs_are_cut_into_blocks():
    import numpy as np

    ds = ray.data.range(10, override_num_blocks=1)
    ds = ds.flat_map(lambda r: [{"x": np.zeros(1000)} for _ in range(100)])
    ds.context.target_max_block_size = 1_000_000
    made = ds.materialize()
    assert 7 <= made.num_blocks() <= 9
    assert made.count() == 1000


def test_two_datasets_run_at_once():
    one = iter(ray.data.range(1000).iter_batches(batch_size=10))
    two = iter(ray.data.range(1000).map_batches(lambda b: {"id": -b["id"]}).iter_batches(batch_size=10))
    pairs = [(int(a["id"][3]), int(b["id"][3])) for a, b in zip(one, two, strict=True)]
    assert pairs == [(i * 10 + 3, -i * 10 - 3) for i in range(100)]


class DieOnce:
    """Ends its process at the first of some batches, once each."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, batch):
        mark = self.folder / f"died-{batch['id'][0]}"
        if batch["id"][0] % 50 == 0 and not mark.exists():
            mark.touch()
            os._exit(1)
        return batch


def test_what_a_dead_task_was_to_make_is_made_again(tmp_path):
    ds = ray.data.range(100, override_num_blocks=10).map_batches(lambda b: DieOnce(tmp_path)(b))
    assert sorted(r["id"] for r in ds.take_all()) == list(range(100))
    assert len(os.listdir(tmp_path)) == 2


def test_what_a_dead_actor_was_to_make_is_made_again(tmp_path):
    ds = ray.data.range(100, override_num_blocks=10).map_batches(
        DieOnce, fn_constructor_args=(tmp_path,), concurrency=2
    )
    assert sorted(r["id"] for r in ds.take_all()) == list(range(100))
    assert len(os.listdir(tmp_path)) == 2


def test_a_shuffle_survives_the_death_of_a_worker(tmp_path):
    import signal
    import threading

    def slow(batch):
        (tmp_path / str(os.getpid())).touch()
        threading.Event().wait(0.05)
        return batch

    def kill_some():
        for _ in range(3):
            while not stopped.wait(0.2):
                pids = [int(name) for name in os.listdir(tmp_path)]
                alive = [pid for pid in pids if pid not in killed and os.path.exists(f"/proc/{pid}")]
                if alive:
                    killed.add(alive[0])
                    os.kill(alive[0], signal.SIGKILL)
                    break

    killed, stopped = set(), threading.Event()
    thread = threading.Thread(target=kill_some)
    thread.start()
    try:
        ds = ray.data.range(20_000, override_num_blocks=40).map_batches(slow).random_shuffle(seed=1)
        rows = ds.map_batches(slow).sort("id").take_all()
    finally:
        stopped.set()
        thread.join()
    assert killed and [r["id"] for r in rows] == list(range(20_000))


def test_many_more_blocks_than_fit_at_once():
    ds = ray.data.range(1000, override_num_blocks=1000).map_batches(
        lambda b: {"id": b["id"] + 1}, num_cpus=0.5
    )
    assert ds.sum("id") == sum(range(1, 1001))
