"""An experiment's state on disk, so that it can go on after a crash at any moment.

``experiment_state-<time>.json``   a snapshot: written at the end of a run, and by a restored one before its first line
``experiment_state-<time>.jsonl``  what changed since: one line for each change, written before anything acts on it

A line that a crash cut off is ignored. The state is the snapshot with the lines of the same time over it. A trial that
was written as ended never runs again. Each line reaches the system with one write (a killed process loses nothing) and
the disk within a second (a crashed machine loses the last second).

Lines are ``{"common": entry}`` (what trials have in common; these are numbered), ``{"id", "of" (number of the common
part), "own": entry, "runtime": entry}`` for a new trial, the same without "of" and "own" for what became of one, and
``{"run": facts}``. Entries are those of `narke.tune._states`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from narke.tune._files import write_all, write_whole
from narke.tune._states import decode, encode, entry, value_of
from narke.tune.experiment._trial_state import common_state, own_state, runtime_state

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["Journal", "State", "find_state"]

_PREFIX = "experiment_state-"
_SYNC_S = 1.0
_FORMAT = 2


class State:
    """What was read: the trials' states in the order they were made, and facts about the run."""

    def __init__(self) -> None:
        self.commons: list[Any] = []
        self.trials: dict[
            str, tuple[int, Any, Any]
        ] = {}  # number of the common part, own and runtime entries
        self.run: dict[str, Any] = {}

    def take(self, line: dict[str, Any]) -> None:
        """Take a change."""
        if "common" in line:
            self.commons.append(line["common"])
        elif "run" in line:
            self.run.update(line["run"])
        elif "own" in line:
            self.trials[line["id"]] = (line["of"], line["own"], line["runtime"])
        else:
            number, own, _ = self.trials[line["id"]]
            self.trials[line["id"]] = (number, own, line["runtime"])

    def parts(self) -> Iterator[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]:
        """The trials' parts, as `Trial.from_parts` takes them."""
        commons = [value_of(each) for each in self.commons]
        for number, own, runtime in self.trials.values():
            yield commons[number], value_of(own), value_of(runtime)

    def status_of(self, trial_id: str) -> str:
        """A trial's status."""
        return value_of(self.trials[trial_id][2])["status"]

    def text(self, stamp: str) -> str:
        """The text of a snapshot."""
        return json.dumps(
            {
                "format": _FORMAT,
                "common": self.commons,
                "trial_data": [[tid, *parts] for tid, parts in self.trials.items()],
                "runner_data": json.loads(encode(self.run)),
                "stats": {"timestamp": stamp, "written": time.time()},
            }
        )


class Journal:
    """Writes the state of one run of an experiment.

    Args:
        folder: local; made if it is not there.
        stamp: the time in the files' names, different for each run.
    """

    def __init__(self, folder: str, stamp: str) -> None:
        self.folder = folder
        self.stamp = stamp
        os.makedirs(folder, exist_ok=True)
        self.snapshot_path = os.path.join(folder, f"{_PREFIX}{stamp}.json")
        self.path = self.snapshot_path + "l"
        self._file: int | None = None
        self._earlier: State | None = None
        self._known: set[str] = set()
        self._commons = 0
        self._common: dict[str, Any] | None = None  # the last that was written
        self._synced_at = time.monotonic()
        self._dirty = False

    def write(self, trial: Trial) -> None:
        """Write what became of a trial."""
        name, lines = json.dumps(trial.trial_id), ""
        runtime = entry(runtime_state(trial))
        if trial.trial_id in self._known:
            lines = f'{{"id": {name}, "runtime": {runtime}}}\n'
        else:
            common = common_state(trial)
            if common != self._common:
                lines = f'{{"common": {entry(common)}}}\n'
                self._common, self._commons = common, self._commons + 1
            own = entry(own_state(trial))
            lines += f'{{"id": {name}, "of": {self._commons - 1}, "own": {own}, "runtime": {runtime}}}\n'
            self._known.add(trial.trial_id)
        self._append(lines)

    def write_run(self, facts: dict[str, Any]) -> None:
        """Write facts about the run."""
        self._append(json.dumps({"run": facts}) + "\n")

    def _append(self, lines: str) -> None:
        if self._file is None:
            if self._earlier is not None:
                write_whole(self.snapshot_path, self._earlier.text(self.stamp))
                self._earlier = None
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        write_all(self._file, lines.encode())
        self._dirty = True

    def sync(self, force: bool = False) -> None:
        """See that the lines reach the disk, at most once a second unless forced."""
        now = time.monotonic()
        if self._dirty and self._file is not None and (force or now - self._synced_at > _SYNC_S):
            os.fdatasync(self._file)
            self._synced_at, self._dirty = now, False

    def begin(self, state: State) -> None:
        """Begin with what an earlier run left; its files are the state until something changes.

        Args:
            state: of the earlier run; it is kept.
        """
        self._earlier = state
        self._commons = len(state.commons)
        self._known.update(state.trials)

    def compact(self, run: dict[str, Any]) -> None:
        """Put a snapshot in place of the lines so far; what it holds of trials is what was written of them.

        Args:
            run: facts about the run.
        """
        if self._file is None and (self._earlier is not None or os.path.exists(self.snapshot_path)):
            return  # nothing has changed
        state = State()
        _read_into(
            state, self.snapshot_path, lambda path: open(path, "rb").read() if os.path.exists(path) else b""
        )
        state.run.update(run)
        write_whole(self.snapshot_path, state.text(self.stamp))
        if self._file is not None:
            os.close(self._file)
            os.unlink(self.path)
            self._file = None

    def close(self) -> None:
        """Close the file; it stays for the next run."""
        if self._file is not None:
            self.sync(force=True)
            os.close(self._file)
            self._file = None


def find_state(folder: str, filesystem: Any = None) -> State | None:
    """The state of the latest run in an experiment's folder, None if there is none.

    Args:
        folder: path on the filesystem.
        filesystem: pyarrow's; the local disk if None.

    Raises:
        ValueError: the file is not one of these.
    """
    from narke.train._storage import filesystem_and_path, list_folder, read_bytes

    found_fs, inner = filesystem_and_path(folder, filesystem)
    names = [name for name in list_folder(found_fs, inner) if name.startswith(_PREFIX)]
    stamps = sorted(
        {name[len(_PREFIX) :].rsplit(".", 1)[0] for name in names if name.endswith((".json", ".jsonl"))}
    )
    if not stamps:
        return None
    latest = f"{_PREFIX}{stamps[-1]}.json"
    state = State()
    _read_into(
        state,
        f"{inner}/{latest}",
        lambda path: read_bytes(found_fs, path) if path.rsplit("/", 1)[-1] in names else b"",
    )
    return state


def _read_into(state: State, path: str, read: Callable[[str], bytes]) -> None:
    """Read a snapshot, and the lines beside it.

    Args:
        state: takes them.
        path: of the snapshot.
        read: gives a file's bytes, none if it is not there.
    """
    text = read(path).decode()
    if text:
        _take_snapshot(state, text, path)
    for line in read(path + "l").decode(errors="replace").splitlines(keepends=True):
        if line.endswith("\n"):
            state.take(json.loads(line))


def _take_snapshot(state: State, text: str, path: str) -> None:
    data = json.loads(text)
    if not isinstance(data, dict) or "trial_data" not in data:
        raise ValueError(f"{path} is not the state of an experiment: it has no trial_data")
    if data.get("format") != _FORMAT:
        raise ValueError(
            f"{path} has the state in format {data.get('format', 1)}, this version reads format {_FORMAT}: restore the "
            "experiment with the version that wrote it"
        )
    state.commons = data["common"]
    state.run.update(decode(json.dumps(data.get("runner_data", {}))))
    state.trials = {tid: (number, own, runtime) for tid, number, own, runtime in data["trial_data"]}
