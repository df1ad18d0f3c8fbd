"""Timer, log_once, leaks, widgets, types of other languages, TPU arithmetic, schedulers' values."""

import pytest

import narke.cross_language as cross_language
from narke import widgets
from narke.util import debug, timer, tpu
from narke.util.scheduling_strategies import (
    DoesNotExist,
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
    NotIn,
    PlacementGroupSchedulingStrategy,
)
from narke.widgets.util import in_ipython_shell, in_notebook, repr_with_fallback

NODE = "ab" * 28


def test_timer_averages_its_window():
    watch = timer._Timer(window_size=2)
    for seconds in (100.0, 1.0, 3.0):
        watch.push(seconds)
    assert watch.mean == 2.0
    assert not watch.has_units_processed()
    watch.push_units_processed(8)
    assert watch.mean_throughput == 2.0
    with pytest.raises(RuntimeError), watch, watch:
        pass


def test_log_state():
    state = debug._LogState()
    assert state.admit("a", 0.0)
    assert not state.admit("a", 100.0)
    assert state.admit("b", 0.0)
    state.periodic = True
    assert not state.admit("a", 59.0)
    assert state.admit("a", 61.0)
    state.disabled = True
    assert not state.admit("c", 0.0)


def test_leaks_are_found_where_they_are():
    kept = []

    def leaks(code):
        found = debug._test_some_code_for_memory_leaks("some code", None, code, 6)
        return [suspect for suspect in found if "test_small.py" in "".join(suspect.traceback.format())]

    assert leaks(lambda: [0] * 1000) == []
    worst = leaks(lambda: kept.append(bytearray(50_000)))[0]
    assert worst.slope > 40_000 and worst.rvalue > 0.99


def test_html_escapes_what_it_shows():
    html = widgets.make_table_html_repr({"<a>": "<b>", "none": None}, title="x & y", max_height="9px")
    assert "&lt;a&gt;" in html and "&lt;b&gt;" in html and "x &amp; y" in html and "9px" in html
    assert "none" not in html
    with pytest.raises(FileNotFoundError, match=r"table\.html"):
        widgets.Template("../util.py")


def test_rich_output_only_in_notebooks():
    class Thing:
        @repr_with_fallback(("no_such_package", None))
        def _repr_mimebundle_(self):
            return {"text/html": "<b>", "text/plain": "b"}

    assert Thing()._repr_mimebundle_() == {"text/plain": "b"}
    assert in_notebook("ZMQInteractiveShell") and not in_notebook()
    assert in_ipython_shell("TerminalInteractiveShell") and not in_ipython_shell()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: cross_language.java_function("a.B", "f"), r"a\.B\.f"),
        (lambda: cross_language.java_actor_class("a.B"), "Java"),
        (lambda: cross_language.cpp_function("f"), r"C\+\+"),
        (lambda: cross_language.cpp_actor_class("make", "B"), "narke.h"),
        (lambda: tpu.slice_placement_group("4x4", "v6e"), "TPU slices"),
        (lambda: tpu.SlicePlacementGroup("4x4", "v6e"), "STRICT_SPREAD"),
    ],
)
def test_what_cannot_be_says_what_to_do(call, text):
    with pytest.raises(NotImplementedError, match=text):
        call()


def test_language_calls_check_their_arguments_first():
    with pytest.raises(TypeError, match="class_name must be a str"):
        cross_language.java_function(1, 2)


@pytest.mark.parametrize(
    ("topology", "kind", "expected"),
    [
        ("2x4", "TPU-V6E", (1, 8)),
        ("2x4", "TPU-V4", (2, 4)),
        ("4x4", "TPU-V6E", (4, 4)),
        ("2x2x2", "TPU-V5P", (2, 4)),
        ("1x1", "TPU-V5LITEPOD", (1, 1)),
    ],
)
def test_tpu_workers(topology, kind, expected):
    workers, resources = tpu.get_tpu_worker_resources(topology, kind)
    assert (workers, resources["TPU"]) == expected


def test_tpu_arithmetic_rejects_what_does_not_divide():
    with pytest.raises(ValueError, match="not divisible"):
        tpu.get_tpu_worker_resources("4x4", "TPU-V6E", {"TPU": 3})
    with pytest.raises(ValueError, match="4x4"):
        tpu.get_tpu_worker_resources("bad", "TPU-V6E")
    with pytest.raises(ValueError, match="A100"):
        tpu.get_tpu_version_from_type("A100")
    assert tpu.get_tpu_num_slices_for_workers("2x4", "TPU-V6E", 5) == 5
    assert tpu.get_tpu_coordinator_env_vars("h", 2, 1)["MEGASCALE_SLICE_ID"] == "1"


def test_label_values():
    assert In("a", "b") == In("a", "b") != NotIn("a", "b")
    strategy = NodeLabelSchedulingStrategy({"k": Exists()}, soft={"z": DoesNotExist()})
    assert list(strategy.hard) == ["k"] and list(strategy.soft) == ["z"]
    assert repr(NotIn("a")) == "NotIn('a')"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: In(), "at least one value"),
        (lambda: NotIn("a", 1), "position 1"),
        (lambda: NodeLabelSchedulingStrategy({}), "cannot both be empty"),
        (lambda: NodeLabelSchedulingStrategy("x"), "must be a map"),
        (lambda: NodeLabelSchedulingStrategy({1: In("a")}), "type str"),
        (lambda: NodeLabelSchedulingStrategy({"a": In("b")}, soft={"c": 1}), "key c of the soft"),
        (lambda: NodeAffinitySchedulingStrategy("ab", soft=True), "56 hexadecimal"),
        (lambda: NodeAffinitySchedulingStrategy("z" * 56, soft=True), "56 hexadecimal"),
        (lambda: NodeAffinitySchedulingStrategy(NODE, soft=True, _fail_on_unavailable=True), "soft=False"),
        (lambda: NodeAffinitySchedulingStrategy(NODE, soft=False, _spill_on_unavailable=True), "soft=True"),
    ],
)
def test_bad_strategies(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_good_strategies():
    assert NodeAffinitySchedulingStrategy(NODE, soft=False).node_id == NODE
    assert PlacementGroupSchedulingStrategy(None).placement_group_bundle_index == -1
