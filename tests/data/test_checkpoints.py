"""Writes that stop half way: what is left behind, what is taken back, what comes once."""

import os
import signal

import pandas as pd
import pyarrow as pa
import pytest
import ray
from once import first_time
from ray.data import BlockBasedFileDatasink
from ray.data.checkpoint import (
    CheckpointConfig,
    CheckpointFilter,
    IdColumnCheckpointManager,
    InvalidCheckpointingConfig,
    NumpyArrayBasedCheckpointFilter,
)
from ray.data.checkpoint.checkpoint_writer import CheckpointWriter
from ray.data.checkpoint.load_checkpoint_callback import LoadCheckpointCallback
from ray.data.checkpoint.util import build_pending_checkpoint_trie


class Stops(BlockBasedFileDatasink):
    """Writes files of ten rows; once, it stops after the first file of a task by `stop`."""

    def __init__(self, path, flag, stop):
        super().__init__(path, file_format="parquet", max_rows_per_file=10)
        self.flag, self.stop, self.written = str(flag), stop, 0

    def write_block_to_file(self, block, file):
        if self.written == 1 and self.flag and first_time(self.flag):
            self.stop()
        self.written += 1
        block.to_pandas().to_parquet(file)


def stop_with_error():
    raise RuntimeError("stopped")


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def ids(folder):
    return sorted(pd.read_parquet(folder)["id"].tolist())


@pytest.mark.parametrize("as_text", [False, True])
def test_files_of_a_task_that_stopped_are_taken_back(tmp_path, as_text):
    def run(flag):
        ds = ray.data.range(90, override_num_blocks=3)
        if as_text:
            ds = ray.data.read_datasource(OfRows(90))
        ds.context.checkpoint_config = CheckpointConfig("id", str(tmp_path / "notes"))
        ds.write_datasink(Stops(str(tmp_path / "out"), flag, stop_with_error), concurrency=1)

    with pytest.raises(Exception, match="stopped"):
        run(tmp_path / "flag")
    assert any(name.endswith(".pending.parquet") for name in os.listdir(tmp_path / "notes"))
    assert len(ids(tmp_path / "out")) >= 10
    run("")
    want = [f"k{i:02}" for i in range(90)] if as_text else list(range(90))
    assert ids(tmp_path / "out") == want
    assert not (tmp_path / "notes").exists()


class OfRows(ray.data.Datasource):
    """Rows whose keys are texts."""

    def __init__(self, rows):
        self.rows = rows

    def get_read_tasks(self, parallelism, per_task_row_limit=None):
        def task(low, high):
            table = pa.table({"id": [f"k{i:02}" for i in range(low, high)]})
            return ray.data.ReadTask(lambda: [table], None)

        return [task(i, i + 30) for i in range(0, self.rows, 30)]


def test_a_task_that_died_leaves_no_files_that_its_repetition_does_not_write(tmp_path):
    class Shrinks(Stops):
        def write(self, blocks, ctx):
            if first_time(self.flag):
                super().write(blocks, ctx)
                kill_myself()
            self.max_rows_per_file = None
            return super().write(blocks, ctx)

    ray.data.range(50, override_num_blocks=1).write_datasink(
        Shrinks(str(tmp_path / "out"), tmp_path / "flag", kill_myself)
    )
    assert (tmp_path / "flag").exists()
    assert ids(tmp_path / "out") == list(range(50))
    assert len(os.listdir(tmp_path / "out")) == 1


@pytest.mark.parametrize("partition_cols", [None, ["part"]])
def test_a_worker_that_dies_while_it_writes(tmp_path, partition_cols):
    def die(batch):
        if 40 in batch["id"] and first_time(tmp_path / "flag"):
            kill_myself()
        return {**batch, "part": batch["id"] % 3}

    ds = ray.data.range(100, override_num_blocks=5).map_batches(die)
    ds.write_parquet(str(tmp_path / "out"), partition_cols=partition_cols)
    assert (tmp_path / "flag").exists()
    assert sorted(r["id"] for r in ray.data.read_parquet(str(tmp_path / "out")).iter_rows()) == list(
        range(100)
    )


def test_notes_are_written_loaded_and_forgotten(tmp_path):
    config = CheckpointConfig("id", str(tmp_path / "notes"), delete_checkpoint_on_success=True)
    writer = CheckpointWriter.create(config)
    assert writer.write_pending_checkpoint(pa.array([]), "none") is None
    pending = writer.write_pending_checkpoint(pa.array([3, 1]), "a")
    writer.write_pending_checkpoint(pa.array([9]), "b")
    writer.commit_checkpoint(pending)
    callback = LoadCheckpointCallback(config)
    callback.before_execution_starts(None)
    assert ray.get(callback.load_checkpoint()).tolist() == [1, 3]
    chosen = NumpyArrayBasedCheckpointFilter(config, callback.load_checkpoint())
    table = pa.table({"id": [0, 1, 2, 3, 4]})
    assert chosen.filter_rows_for_block(table).column("id").to_pylist() == [0, 2, 4]
    callback.after_execution_succeeds(None)
    assert not (tmp_path / "notes").exists()


def test_filters_and_managers_of_the_users_own(tmp_path):
    class Odd(CheckpointFilter):
        def filter_rows_for_block(self, block):
            return block.filter(pa.array([i % 2 == 1 for i in block.column("id").to_pylist()]))

    class Touching(IdColumnCheckpointManager):
        def _preprocess_data_pipeline(self, keys):
            (tmp_path / "loaded").touch()
            return keys

    CheckpointWriter.create(CheckpointConfig("id", str(tmp_path / "notes"))).write_pending_checkpoint(
        [1], "a"
    )
    os.rename(tmp_path / "notes" / "a.pending.parquet", tmp_path / "notes" / "a.parquet")
    ds = ray.data.range(10)
    ds.context.checkpoint_config = CheckpointConfig(
        "id", str(tmp_path / "notes"), checkpoint_filter_cls=Odd, checkpoint_manager_cls=Touching
    )
    ds.write_parquet(str(tmp_path / "out"))
    assert ids(tmp_path / "out") == [1, 3, 5, 7, 9] and (tmp_path / "loaded").exists()
    with pytest.raises(InvalidCheckpointingConfig, match="checkpoint_filter_cls"):
        CheckpointConfig("id", "x", checkpoint_filter_cls=int)


def test_names_that_begin_with_one_of_many_prefixes():
    trie = build_pending_checkpoint_trie(
        ["/n/a_1.pending.parquet", "/n/b.pending.parquet", "c"], ".pending.parquet"
    )
    found = {name: trie.has_prefix_of(name) for name in ("a_1_0.csv", "a_2.csv", "bx", "c", "")}
    assert found == {"a_1_0.csv": True, "a_2.csv": False, "bx": True, "c": False, "": False}
