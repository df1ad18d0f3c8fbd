"""The parts of training that have no workers in them."""

from __future__ import annotations

import math

import pytest

from narke.train import _placing
from narke.train._book import Book
from narke.train._gather import Gather, Part
from narke.train._progress import Curves
from narke.train._run_files import stopper_of
from narke.train._snapshot import Entry
from narke.train._trial_files import Filler


def part(value: float = 0, checkpoint: str | None = None, stored: bool = True) -> Part:
    return Part({"v": value}, checkpoint, stored)


def test_a_report_is_complete_when_all_ranks_gave_theirs() -> None:
    gather = Gather(2, first=5)
    assert gather.report(1, 5, part(11)) == []
    (done,) = gather.report(0, 5, part(10))
    assert (done.index, done.metrics, done.checkpoint) == (5, {"v": 10}, None)


def test_reports_complete_in_order_even_if_files_come_late() -> None:
    gather = Gather(1, first=0)
    assert gather.report(0, 0, part(checkpoint="c", stored=False)) == []
    assert gather.report(0, 1, part()) == []
    assert [each.index for each in gather.stored(0, 0)] == [0, 1]


def test_ranks_that_ended_are_not_waited_for() -> None:
    gather = Gather(3, first=0)
    gather.report(1, 0, part(1, "c1"))
    assert gather.ended(0) == []
    (done,) = gather.ended(2)
    assert (done.metrics, done.checkpoint.checkpoint) == ({"v": 1}, "c1")


def test_the_checkpoint_is_of_the_lowest_rank_that_gave_one() -> None:
    gather = Gather(3, first=0)
    gather.report(2, 0, part(2, "same"))
    gather.report(0, 0, part(0))
    (done,) = gather.report(1, 0, part(1, "same"))
    assert done.checkpoint.metrics == {"v": 1}


@pytest.mark.parametrize(
    ("order", "kept"),
    [("max", ["c1", "c3"]), ("min", ["c0", "c3"])],
)
def test_best_and_latest_checkpoints_are_kept(order: str, kept: list[str]) -> None:
    book, dropped = Book(1, "score", order), []
    for at, score in enumerate([1.0, 9.0, math.nan, 5.0]):
        dropped += book.add(Entry(f"c{at}", {"score": score}, at))
    assert sorted(each.checkpoint_dir_name for each in book.entries) == kept
    assert book.latest.checkpoint_dir_name == "c3"
    assert sorted(each.checkpoint_dir_name for each in dropped) == sorted({"c0", "c1", "c2"} - set(kept))


def test_without_a_score_the_latest_are_kept() -> None:
    book = Book(2)
    dropped = [each.checkpoint_dir_name for at in range(4) for each in book.add(Entry(f"c{at}", {}, at))]
    assert dropped == ["c0", "c1"]
    assert [each.checkpoint_dir_name for each in book.entries] == ["c2", "c3"]


def test_nested_scores() -> None:
    book = Book(1, "a/b")
    book.add(Entry("good", {"a": {"b": 2}}, 0))
    book.add(Entry("bad", {"a": {"b": 1}}, 1))
    assert [each.checkpoint_dir_name for each in book.entries] == ["bad", "good"]


@pytest.mark.parametrize(
    ("strategy", "most", "fits"),
    [("PACK", 9, 5), ("PACK", 3, 3), ("STRICT_PACK", 9, 3), ("STRICT_SPREAD", 9, 2)],
)
def test_how_many_workers_fit(strategy: str, most: int, fits: int) -> None:
    nodes = [{"CPU": 6.0, "x": 1}, {"CPU": 4.0}, {"CPU": 1.9}]
    assert _placing.fitting(nodes, {"CPU": 2}, most, strategy) == fits


def test_ranks_of_a_node_are_next_to_each_other() -> None:
    assert _placing.ordered(["b", "a", "b", "c", "a"]) == [0, 2, 1, 4, 3]
    places = _placing.places(["b", "b", "a", "a", "c"])
    assert [(p.local_rank, p.local_world_size, p.node_rank) for p in places] == [
        (0, 2, 0),
        (1, 2, 0),
        (0, 2, 1),
        (1, 2, 1),
        (0, 1, 2),
    ]


def test_curves_are_bounded_and_reach_the_end() -> None:
    curves = Curves(points=10)
    for index in range(1000):
        curves.add(index, {"loss": 1000.0 - index, "name": "text", "bad": math.inf})
    assert list(curves.lines) == ["loss"]
    line = curves.lines["loss"]
    assert len(line) <= 11
    assert line[0] == [0, 1000.0]
    assert line[-1][0] > 800


def test_stop_criteria() -> None:
    assert not stopper_of(None)("n", {"a": 1})
    assert stopper_of({"a": 3})("n", {"a": 3})
    assert not stopper_of({"a": 3, "b": 1})("n", {"a": 2})
    assert stopper_of(lambda name, metrics: name == "n" and metrics["a"] > 1)("n", {"a": 2})
    with pytest.raises(TypeError, match=r"RunConfig\.stop"):
        stopper_of(3)


def test_filled_metrics_count_and_leave_reported_ones() -> None:
    times = iter([100.0, 101.0, 103.0])
    fill = Filler("id_0", {"lr": 1}, done=2, clock=lambda: next(times))
    first, second = fill({"timestamp": 7}, None), fill({"loss": 1}, "checkpoint_000000")
    assert (first["training_iteration"], first["timestamp"], first["time_this_iter_s"]) == (3, 7, 1)
    assert (second["training_iteration"], second["time_total_s"], second["config"]) == (4, 3, {"lr": 1})
    assert second["should_checkpoint"] is True
