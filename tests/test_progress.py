"""How far a long piece of work is, in a log and on a terminal."""

from __future__ import annotations

from ablations import progress
from ablations.progress import Share


class Clock:
    """A clock that goes on by so many seconds at each look."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def perf_counter(self):
        self.now += self.step
        return self.now


def told(monkeypatch, capsys, terminal, step, total=4):
    monkeypatch.setattr(progress, "time", Clock(step))
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: terminal, raising=False)
    share = Share("work", total)
    for _ in range(total):
        share.add(1)
    return capsys.readouterr().err


def test_in_a_log_there_is_a_line_now_and_then(monkeypatch, capsys):
    assert told(monkeypatch, capsys, terminal=False, step=1.0) == ""
    assert told(monkeypatch, capsys, terminal=False, step=6.0) == "work 50 %\nwork 100 %\n"


def test_on_a_terminal_the_line_replaces_itself_and_is_gone_in_the_end(monkeypatch, capsys):
    clear = "\r\033[K"
    shown = "".join(f"{clear}work {part} %" for part in (25, 50, 75)) + clear
    assert told(monkeypatch, capsys, terminal=True, step=1.0) == shown
    assert told(monkeypatch, capsys, terminal=True, step=0.01) == clear
