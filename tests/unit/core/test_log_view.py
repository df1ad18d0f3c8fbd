"""What of workers' output reaches the driver's terminal."""

import io

import pytest

from narke._private.log_view import Deduplicator, Line, Printer, format_line


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def line(text, pid=1, name="f"):
    return Line(name, pid, text)


def texts(shown):
    return [shown_line.text + remark for shown_line, remark in shown]


class TestDeduplicator:
    def test_first_line_passes_at_once(self, clock):
        assert texts(Deduplicator(clock=clock).add([line("hello")])) == ["hello"]

    def test_same_line_of_others_is_counted(self, clock):
        seen = Deduplicator(clock=clock)
        assert texts(seen.add([line("hello", pid) for pid in range(5)])) == ["hello"]
        clock.now = 5.1
        assert texts(seen.due()) == ["hello [repeated 4x across cluster]"]
        assert seen.due() == []

    def test_numbers_do_not_make_a_difference(self, clock):
        seen = Deduplicator(clock=clock)
        shown = seen.add([line("step 1 at 0xab", 1), line("step 2 at 0xcd", 2), line("step 3 at 0xef", 3)])
        assert texts(shown) == ["step 1 at 0xab"]
        clock.now = 6
        assert texts(seen.due()) == ["step 3 at 0xef [repeated 2x across cluster]"]

    def test_one_other_is_shown_without_a_count(self, clock):
        seen = Deduplicator(clock=clock)
        seen.add([line("hello", 1), line("hello", 2)])
        clock.now = 6
        assert texts(seen.due()) == ["hello"]

    def test_a_worker_may_repeat_itself(self, clock):
        assert (
            texts(Deduplicator(clock=clock).add([line("tick"), line("tick"), line("tick")])) == ["tick"] * 3
        )

    def test_after_the_window_the_line_is_new(self, clock):
        seen = Deduplicator(clock=clock)
        seen.add([line("hello", 1)])
        clock.now = 6
        assert texts(seen.add([line("hello", 2)])) == ["hello"]

    def test_flush_tells_what_is_held_back(self, clock):
        seen = Deduplicator(clock=clock)
        seen.add([line("hello", pid) for pid in range(3)])
        assert texts(seen.flush()) == ["hello [repeated 2x across cluster]"]

    def test_allow_and_skip(self, clock):
        seen = Deduplicator(clock=clock, allow="^keep", skip="^drop")
        lines = [line(text, pid) for text in ("keep", "drop") for pid in range(3)]
        assert texts(seen.add(lines)) == ["keep"] * 3


class TestFormat:
    def test_plain(self):
        assert format_line(line("text", pid=7), "", coloured=False) == "(f pid=7) text\n"

    def test_coloured(self):
        shown = format_line(line("text", pid=7), " [repeated 2x across cluster]", coloured=True)
        assert "\033[" in shown and "text" in shown and "repeated 2x" in shown


class TestPrinter:
    def test_prints_until_disconnected(self, monkeypatch):
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr("sys.stdout", out)
        monkeypatch.setattr("sys.stderr", err)
        entry = {"pid": 7, "name": "f", "is_error": False, "text": "out", "notice": ""}
        answers = [
            [entry, {**entry, "is_error": True, "text": "err"}],
            [{**entry, "text": "low", "notice": "memory"}],
        ]
        printer = Printer(lambda _timeout: answers.pop(0) if answers else None, None)
        printer.start()
        printer.stop()
        assert out.getvalue() == "(f pid=7) out\n"
        assert err.getvalue() == "(f pid=7) err\n(narke) low\n"

    def test_a_closed_terminal_is_no_failure(self, monkeypatch):
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr("sys.stdout", closed)
        Printer(lambda _timeout: None, None).show(
            [{"pid": 7, "name": "f", "is_error": False, "text": "out", "notice": ""}]
        )
