import io
import json

import pytest

from narke.experimental import tqdm_ray


class Terminal(io.StringIO):
    def isatty(self):
        return True


def state(uuid="u", **changes):
    base = {
        "uuid": uuid,
        "desc": "d",
        "total": 10,
        "x": 0,
        "unit": "it",
        "pos": 0,
        "closed": False,
        "pid": 1,
        "ip": "h",
    }
    return {**base, **changes}


def test_render():
    line = tqdm_ray._render(state(x=5), 2.0)
    assert line == "d:  50% |############------------| 5/10 [00:02<00:02, 2.50 it/s]"
    assert tqdm_ray._render(state(total=None, x=7, desc=""), 7.0) == "7 it [00:07, 1.00 it/s]"
    assert tqdm_ray._clock(3725) == "1:02:05"


def test_bars_are_ordered_by_process_and_position():
    manager = tqdm_ray.BarManager(Terminal())
    manager.process_state_update(state("a", desc="second", pos=1))
    manager.process_state_update(state("b", desc="first", pos=0))
    assert [line.split(":")[0] for line in manager.lines(1e9)] == ["first", "second"]


def test_a_closed_bar_stays_on_screen_and_leaves_the_manager():
    out = Terminal()
    manager = tqdm_ray.BarManager(out)
    manager.process_state_update(state(x=10, closed=True))
    assert manager.lines(0) == []
    assert "10/10" in out.getvalue() and out.getvalue().endswith("\n")


def test_hidden_bars_are_not_drawn():
    out = Terminal()
    manager = tqdm_ray.BarManager(out)
    manager.process_state_update(state())
    manager.hide_bars()
    written = len(out.getvalue())
    manager.process_state_update(state(x=9))
    assert len(out.getvalue()) == written
    manager.unhide_bars()
    assert "9/10" in out.getvalue()


def test_files_get_a_line_for_each_tenth():
    out = io.StringIO()
    manager = tqdm_ray.BarManager(out)
    for step in range(101):
        manager.process_state_update(state(total=100, x=step))
    assert len(out.getvalue().splitlines()) == 11


@pytest.fixture
def manager(monkeypatch):
    manager = tqdm_ray.BarManager(io.StringIO())
    monkeypatch.setattr(tqdm_ray, "_manager", manager)
    return manager


def test_lines_of_workers(manager):
    assert not tqdm_ray.process_line("hello")
    assert not tqdm_ray.process_line("__narke_tqdm__ {not json")
    assert tqdm_ray.process_line("(pid=3) __narke_tqdm__ " + json.dumps(state(x=3)))
    assert "3/10" in manager._out.getvalue()


def test_a_worker_prints_what_the_driver_reads(manager, monkeypatch, capsys):
    monkeypatch.setattr(tqdm_ray, "_in_worker", lambda: True)
    bar = tqdm_ray.tqdm(range(3), desc="work", flush_interval_s=0)
    assert list(bar) == [0, 1, 2] and bar.n == 3 and bar.total == 3
    lines = capsys.readouterr().out.splitlines()
    assert all(tqdm_ray.process_line(line) for line in lines)
    assert "work: 100%" in manager._out.getvalue()


def test_reports_keep_their_distance(monkeypatch, capsys):
    monkeypatch.setattr(tqdm_ray, "_in_worker", lambda: True)
    bar = tqdm_ray.tqdm(total=1000, flush_interval_s=3600)
    for _ in range(1000):
        bar.update()
    bar.close()
    bar.close()
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_iterating_needs_an_iterable(manager):
    with pytest.raises(ValueError, match="without an iterable"):
        list(tqdm_ray.tqdm(total=3))


def test_print_steps_around_bars(manager, capsys):
    tqdm_ray.safe_print("text")
    assert capsys.readouterr().out == "text\n"
    assert not manager._hidden
