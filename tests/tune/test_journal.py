"""The state on disk."""

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
    assert find_state(str(tmp_path)).status_of("t1") == Trial.TERMINATED
    journal.compact({"iteration": 3})
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    found = find_state(str(tmp_path))
    assert found.run["iteration"] == 3
    (back,) = [Trial.from_parts(*parts) for parts in found.parts()]
    assert back.config == {"x": 1} and back.last_result["loss"] == 0.5


def test_all_of_a_trial_comes_back(tmp_path):
    import copy

    from narke.train._storage import StorageContext
    from narke.tune import CheckpointConfig, PlacementGroupFactory

    storage = StorageContext(str(tmp_path), "exp")
    journal = Journal(str(tmp_path), "2026-01-01_00-00-00")
    made = []
    for number in range(3):
        one = Trial(
            "objective",
            trial_id=f"t{number}",
            stub=True,
            storage=copy.copy(storage),
            config={"x": number, "f": (lambda: 1) if number == 2 else None},
            evaluated_params={"x": number},
            experiment_tag=f"{number}_x",
            checkpoint_config=CheckpointConfig(num_to_keep=2),
            placement_group_factory=PlacementGroupFactory([{"CPU": 1 + number // 2}]),
            max_failures=3,
        )
        for iteration in range(number):
            one.update_last_result(
                {"loss": iteration - 0.5, "training_iteration": iteration + 1, "config": one.config}
            )
        journal.write(one)
        made.append(one)
    state = find_state(str(tmp_path))
    assert len(state.commons) == 2  # the third has other resources
    names = (
        "trial_id evaluated_params experiment_tag relative_logdir max_failures placement_group_factory status"
    )
    for one, parts in zip(made, state.parts(), strict=True):
        back = Trial.from_parts(*parts)
        assert [getattr(back, name) for name in names.split()] == [
            getattr(one, name) for name in names.split()
        ]
        assert back.config["x"] == one.config["x"] and back.metric_analysis == one.metric_analysis
        assert back.metric_n_steps == one.metric_n_steps and str(back) == str(one)
        assert {**back.last_result, "config": 0} == {**one.last_result, "config": 0} or not one.last_result
        assert back.checkpoints.config.num_to_keep == 2 and back.restored_index == -1
        again = Trial.from_json_state(one.get_json_state())
        assert again.metric_analysis == one.metric_analysis and again.relative_logdir == one.relative_logdir
    assert back.config["f"]() == 1


def test_a_restored_run_writes_no_state_until_something_changes(tmp_path):
    journal, one = Journal(str(tmp_path), "2026-01-01_00-00-00"), trial()
    journal.write(one)
    journal.close()
    later = Journal(str(tmp_path), "2026-01-02_00-00-00")
    later.begin(find_state(str(tmp_path)))
    later.compact({})
    assert [path.name for path in tmp_path.iterdir()] == ["experiment_state-2026-01-01_00-00-00.jsonl"]
    one.set_status(Trial.TERMINATED)
    later.write(one)
    assert find_state(str(tmp_path)).status_of("t1") == Trial.TERMINATED
    later.compact({})
    later.close()
    assert (tmp_path / "experiment_state-2026-01-02_00-00-00.json").exists()
    assert find_state(str(tmp_path)).status_of("t1") == Trial.TERMINATED


def test_a_state_in_another_format_is_refused(tmp_path):
    (tmp_path / "experiment_state-2026-01-01_00-00-00.json").write_text('{"trial_data": []}')
    with pytest.raises(ValueError, match="format 1"):
        find_state(str(tmp_path))


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
    assert find_state(str(tmp_path)).status_of("t1") == "TERMINATED"


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
