"""The state on disk."""

import json

import pytest

from narke.tune._checkpoints import CheckpointList, TrainingResult
from narke.tune._states import decode, encode
from narke.tune.execution.journal import Journal, find_state
from narke.tune.experiment import Trial
from narke.tune.tune import _fresh_stamp


def trial(**options):
    made = Trial("objective", trial_id="t1", stub=True, **options)
    made.update_last_result({"loss": 0.5, "training_iteration": 1})
    return made


@pytest.mark.parametrize(
    "value", [{"a": [1, 2.5, None, "x"]}, {"n": {"m": True}}, {1: 2, (3, 4): "t"}, {"s": {1, 2}}]
)
def test_values_come_back_as_they_were(value):
    assert decode(encode(value)) == value


def test_functions_and_numpy_numbers_can_be_kept():
    import numpy as np

    back = decode(encode({"f": lambda x: x + 1, "n": np.float32(0.5), "a": np.arange(3)}))
    assert back["f"](1) == 2 and back["n"] == 0.5 and back["a"].tolist() == [0, 1, 2]


def test_lines_are_the_state_until_a_snapshot_takes_their_place(tmp_path):
    journal, one = Journal(str(tmp_path), "2026-01-01_00-00-00"), trial(config={"x": 1})
    journal.write(one)
    one.set_status(Trial.TERMINATED)
    journal.write(one)
    found = find_state(str(tmp_path))
    assert Trial.from_json_state(found.trials["t1"]).status == Trial.TERMINATED
    journal.compact({"iteration": 3})
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    found = find_state(str(tmp_path))
    assert found.run["iteration"] == 3
    back = Trial.from_json_state(found.trials["t1"])
    assert back.config == {"x": 1} and back.last_result["loss"] == 0.5


def test_a_line_that_was_cut_off_is_ignored(tmp_path):
    journal, one = Journal(str(tmp_path), "2026-01-01_00-00-00"), trial()
    journal.write(one)
    journal.close()
    whole = (tmp_path / "experiment_state-2026-01-01_00-00-00.jsonl").read_text()
    for length in (1, len(whole) // 2, len(whole) - 1):
        with open(journal.path, "w") as file:
            file.write(whole + whole[:length])
        assert list(find_state(str(tmp_path)).trials) == ["t1"]


def test_the_latest_run_counts(tmp_path):
    for stamp, status in (("2026-01-01_00-00-00", "PENDING"), ("2026-01-02_00-00-00", "TERMINATED")):
        journal, one = Journal(str(tmp_path), stamp), trial()
        one.set_status(status)
        journal.write(one)
        journal.compact({})
    runtime = find_state(str(tmp_path)).trials["t1"][1]
    assert json.loads(runtime)["status"] == "TERMINATED"


def test_runs_in_one_second_have_names_in_their_order(tmp_path):
    stamps = []
    for _ in range(3):
        stamps.append(_fresh_stamp(str(tmp_path)))
        Journal(str(tmp_path), stamps[-1]).compact({})
    assert stamps == sorted(set(stamps))


def test_pinned_checkpoints_are_not_deleted():
    from narke.tune import CheckpointConfig

    kept = CheckpointList(CheckpointConfig(num_to_keep=1))
    first, second = TrainingResult(None, {"i": 1}), TrainingResult(None, {"i": 2})
    kept.add(first)
    first.pins = 1
    assert kept.add(second) == []
    first.pins = 0
    assert kept.add(TrainingResult(None, {"i": 3})) == [first, second]
