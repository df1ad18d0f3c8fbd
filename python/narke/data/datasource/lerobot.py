"""Datasets of LeRobot, version 3 (https://huggingface.co/docs/lerobot/lerobot-dataset-v3): recordings of robots.

Rows lie in Parquet files, many episodes in each; cameras in MP4 files, many episodes one after another in each, or as
encoded images in the rows. "meta" says where each episode begins, in rows and in seconds of each video.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from narke.data import columns
from narke.data.block import BlockMetadata
from narke.data.datasource import paths
from narke.data.datasource.datasource import Datasource, ReadTask
from narke.data.datasource.media import needed
from narke.data.datasource.parquet import named
from narke.data.tensor_types import ragged

BLOCK_BYTES = 128 * 1024 * 1024
CAMERAS = ("video", "image")
GRANULARITIES = ("file", "episode")


@dataclasses.dataclass(frozen=True)
class Recording:
    """One dataset: where it is, what "meta" says of it, and what is wanted of it.

    Args:
        number: among those that are read together. info: "meta/info.json". tasks: names by number. stats: as text.
        steps: by feature, the frames beside each frame that are wanted with it.
        tolerance_s: how far a video's frame may be from its row.
    """

    system: fs.FileSystem
    root: str
    number: int
    info: dict[str, Any]
    tasks: dict[int, str]
    stats: str
    steps: dict[str, list[int]]
    tolerance_s: float

    def cameras(self, kind: str) -> list[str]:
        """Features that are videos, or images."""
        return [name for name, about in self.info["features"].items() if about["dtype"] == kind]

    @property
    def row_bytes(self) -> int:
        """About what a row takes when its pictures are decoded."""
        return 12 + sum(_size(about) for about in self.info["features"].values())

    def comparable(self) -> Any:
        """What must be equal of datasets that are read together."""
        shapes = {
            name: None if about["dtype"] in CAMERAS else (about["dtype"], tuple(about["shape"]))
            for name, about in self.info["features"].items()
        }
        return {
            "fps": self.info["fps"],
            "cameras": [sorted(self.cameras(k)) for k in CAMERAS],
            "features": shapes,
        }

    def opened(self, pattern: str, **place: Any) -> Any:
        """A file by its pattern in `info`."""
        return self.system.open_input_file(f"{self.root}/{self.info[pattern].format(**place)}")


def _size(about: dict[str, Any]) -> int:
    width = {"video": 1, "image": 1, "string": 16}.get(about["dtype"]) or np.dtype(about["dtype"]).itemsize
    return width * int(np.prod(about["shape"] or [1]))


@dataclasses.dataclass(frozen=True)
class Span:
    """Frames [start, end) of an episode of a recording, counted as column "index" does."""

    number: int
    episode: dict[str, Any]
    start: int
    end: int

    def files(self, videos: list[str]) -> tuple[Any, ...]:
        """The files that it lies in."""
        names = ["data", *(f"videos/{key}" for key in videos)]
        return self.number, *(
            self.episode[f"{name}/{part}_index"] for name in names for part in ("chunk", "file")
        )


class LeRobotDatasource(Datasource):
    """Recordings of robots; see `read_lerobot`.

    Raises:
        ValueError: an argument means nothing for these datasets, or they do not fit together.
    """

    def __init__(
        self,
        root: Any,
        *,
        episodes: list[int] | None = None,
        read_granularity: str = "file",
        filesystem: Any = None,
        storage_options: dict[str, Any] | None = None,
        frame_tolerance_s: float | None = None,
        delta_timestamps: dict[str, list[float]] | None = None,
        delta_tolerance_s: float = 1e-4,
    ):
        if read_granularity not in GRANULARITIES:
            raise ValueError(
                f"read_granularity must be one of {list(GRANULARITIES)}, not {read_granularity!r}"
            )
        if frame_tolerance_s is not None and frame_tolerance_s <= 0:
            raise ValueError(f"frame_tolerance_s must be above 0, not {frame_tolerance_s}")
        roots = list(root) if isinstance(root, (list, tuple)) else [root]
        self._local = any(str(r).startswith("local://") for r in roots)
        self._granularity, self._windows = read_granularity, bool(delta_timestamps)
        system = _filesystem(filesystem, roots[0], storage_options)
        found = [_recording(str(r), system, number) for number, r in enumerate(roots)]
        wanted = delta_timestamps or {}
        self._recordings = [
            dataclasses.replace(
                r,
                steps=_steps(wanted, r, delta_tolerance_s),
                tolerance_s=frame_tolerance_s or 0.5 / r.info["fps"],
            )
            for r in found
        ]
        _check_alike(self._recordings)
        self._spans = [span for r in self._recordings for span in _spans(r, episodes)]
        if episodes is not None:
            _check_found(episodes, self._spans)

    @property
    def meta(self) -> dict[str, Any]:
        """What "meta/info.json" of the first dataset says."""
        return self._recordings[0].info

    @property
    def supports_distributed_reads(self) -> bool:
        return not self._local

    def get_name(self) -> str:
        return "LeRobot"

    def estimate_inmemory_data_size(self) -> int | None:
        return sum((s.end - s.start) * self._recordings[s.number].row_bytes for s in self._spans) or None

    def known_rows(self) -> int | None:
        return sum(s.end - s.start for s in self._spans)

    def default_num_blocks(self) -> int:
        """A block a group of episodes that share all files, or an episode."""
        return len(self._groups())

    def _groups(self) -> list[list[Span]]:
        groups: list[list[Span]] = []
        videos = self._recordings[0].cameras("video")
        for span in self._spans:
            shared = (
                self._granularity == "file" and groups and groups[-1][-1].files(videos) == span.files(videos)
            )
            if shared:
                groups[-1].append(span)
            else:
                groups.append([span])
        return groups

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        groups = self._groups()
        if self._windows and parallelism > len(groups):
            raise ValueError(
                f"delta_timestamps: episodes stay whole, so there are {len(groups)} blocks at most, not {parallelism}"
            )
        if 0 < parallelism < len(groups):
            edges = [len(groups) * i // parallelism for i in range(parallelism + 1)]
            parts = [groups[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
            groups = [[span for group in part for span in group] for part in parts]
        elif parallelism > len(groups):
            groups = _cut(self._spans, parallelism)
        return [self._task(group) for group in groups]

    def _task(self, spans: list[Span]) -> ReadTask:
        own = {s.number: self._recordings[s.number] for s in spans}
        rows = sum(s.end - s.start for s in spans)
        size = sum((s.end - s.start) * own[s.number].row_bytes for s in spans)
        return ReadTask(_Reader(own, spans), BlockMetadata(rows, size, None))


def _filesystem(given: Any, root: Any, options: dict[str, Any] | None) -> Any:
    """The filesystem that was given, or that of fsspec which options are for; None: the one of each path."""
    if given is not None or not options:
        return given
    fsspec = needed("fsspec", "fsspec", "read_lerobot with storage_options")
    return fsspec.filesystem(str(root).split("://", 1)[0], **options)


def _recording(root: str, filesystem: Any, number: int) -> Recording:
    anonymous = root.startswith("s3://anonymous@")
    if anonymous and filesystem is None:
        filesystem = fs.S3FileSystem(anonymous=True)
    system, path = paths.resolve(root.replace("anonymous@", "") if anonymous else root, filesystem)
    path = path.rstrip("/")
    info = _json(system, f"{path}/meta/info.json")
    if not str(info.get("codebase_version", "")).startswith("v3"):
        raise ValueError(
            f"{root} is a LeRobot dataset of version {info.get('codebase_version')}; v3 can be read"
        )
    tasks = _table(system, f"{path}/meta/tasks.parquet")
    names = next((n for n in ("task", "__index_level_0__") if n in tasks.column_names), None)
    if names is None:
        raise ValueError(f"{root}/meta/tasks.parquet has no names of tasks: {tasks.column_names}")
    by_number = dict(
        zip(tasks.column("task_index").to_pylist(), tasks.column(names).to_pylist(), strict=True)
    )
    stats = "{}"
    if system.get_file_info(f"{path}/meta/stats.json").type is fs.FileType.File:
        stats = json.dumps(_json(system, f"{path}/meta/stats.json"))
    made = Recording(system, path, number, info, by_number, stats, {}, 0.0)
    if made.cameras("video") and not info.get("video_path"):
        raise ValueError(f"{root}: meta/info.json has videos, {made.cameras('video')}, and no 'video_path'")
    return made


def _json(system: fs.FileSystem, path: str) -> Any:
    with system.open_input_stream(path) as stream:
        text = stream.read()
    try:
        return json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error


def _table(system: fs.FileSystem, path: str, **options: Any) -> pa.Table:
    with named(path), system.open_input_file(path) as file:
        table = pq.read_table(file, use_threads=False, **options)
    columns.refuse_objects(table.schema, path)
    return table.replace_schema_metadata()


def _spans(recording: Recording, wanted: list[int] | None) -> Iterator[Span]:
    """The episodes, in order."""
    below = fs.FileSelector(f"{recording.root}/meta/episodes", recursive=True)
    files = [f.path for f in recording.system.get_file_info(below) if f.path.endswith(".parquet")]
    for path in sorted(files):
        table = _table(recording.system, path)
        chosen = [n for n in table.column_names if n.startswith(("data", "videos/")) or n == "episode_index"]
        for row in table.select(chosen).to_pylist():
            if wanted is None or row["episode_index"] in wanted:
                yield Span(recording.number, row, row["dataset_from_index"], row["dataset_to_index"])


def _check_found(episodes: list[int], spans: list[Span]) -> None:
    if not episodes:
        raise ValueError("episodes: name some, or give None for all")
    missing = sorted(set(episodes) - {span.episode["episode_index"] for span in spans})
    if missing:
        raise ValueError(f"episodes {missing} are in none of the datasets")


def _check_alike(recordings: list[Recording]) -> None:
    first = recordings[0].comparable()
    for other in recordings[1:]:
        for name, value in other.comparable().items():
            if value != first[name]:
                raise ValueError(
                    f"{recordings[0].root} and {other.root} differ in {name}: {first[name]} and {value}"
                )


def _steps(wanted: dict[str, list[float]], recording: Recording, tolerance_s: float) -> dict[str, list[int]]:
    """Offsets in seconds as numbers of frames."""
    fps, features = recording.info["fps"], recording.info["features"]
    missing = sorted(set(wanted) - set(features))
    if missing:
        raise ValueError(
            f"delta_timestamps: {recording.root} has no features {missing}, but {sorted(features)}"
        )
    for name, offsets in wanted.items():
        off = [s for s in offsets if abs(s * fps - round(s * fps)) > tolerance_s * fps]
        if off:
            raise ValueError(f"delta_timestamps: {off} s of {name!r} are no multiples of 1/{fps} s")
    return {name: [round(s * fps) for s in offsets] for name, offsets in wanted.items()}


def _cut(spans: list[Span], count: int) -> list[list[Span]]:
    """The same frames in about `count` groups of as many."""
    total = sum(s.end - s.start for s in spans)
    edges = [total * i // count for i in range(1, count + 1)]
    groups: list[list[Span]] = [[] for _ in edges]
    place = group = 0
    for span in spans:
        start = span.start
        while start < span.end:
            while edges[group] <= place:
                group += 1
            end = min(span.end, start + edges[group] - place)
            groups[group].append(dataclasses.replace(span, start=start, end=end))
            place, start = place + end - start, end
    return [group for group in groups if group]


@dataclasses.dataclass
class _Reader:
    """Reads spans."""

    recordings: dict[int, Recording]
    spans: list[Span]

    def __call__(self) -> Iterator[pa.Table]:
        for span in self.spans:
            recording = self.recordings[span.number]
            rows = max(1, BLOCK_BYTES // recording.row_bytes)
            for start in range(span.start, span.end, rows):
                yield _Frames(recording, span, start, min(start + rows, span.end)).table()


class _Frames:
    """Rows [start, end) of a span, and around them what their windows need.

    Args:
        recording, span: of which. start, end: rows as column "index" counts them.
    """

    def __init__(self, recording: Recording, span: Span, start: int, end: int):
        self._recording, self._episode = recording, span.episode
        first, after = self._episode["dataset_from_index"], self._episode["dataset_to_index"]
        steps = [0, *(step for each in recording.steps.values() for step in each)]
        self._low, high = max(first, start + min(steps)), min(after, end + max(steps))
        self._bounds, self._rows = (first, after), np.arange(start, end)
        self._held = self._read(self._low, high)

    def _read(self, low: int, high: int) -> pa.Table:
        place = {f"{part}_index": self._episode[f"data/{part}_index"] for part in ("chunk", "file")}
        path = f"{self._recording.root}/{self._recording.info['data_path'].format(**place)}"
        table = _table(self._recording.system, path, filters=[("index", ">=", low), ("index", "<", high)])
        if table.column("index").to_pylist() != list(range(low, high)):
            raise ValueError(f"{path}: rows {low} to {high} of column 'index' are not all there, in order")
        return table

    def table(self) -> pa.Table:
        """The rows, with pictures decoded."""
        own = slice(self._rows[0] - self._low, len(self._rows))
        held = self._held.slice(own.start, own.stop)
        made: dict[str, Any] = {}
        masks: dict[str, Any] = {}
        videos = self._recording.cameras("video")
        for name in [*self._held.column_names, *videos]:
            made[name] = self._column(name, held)
            if name in self._recording.steps:
                made[name], masks[f"{name}_is_pad"] = made[name]
        tasks = [self._recording.tasks[number] for number in held.column("task_index").to_pylist()]
        made["task"] = pa.array(tasks).cast(pa.string()).dictionary_encode()
        made["dataset_index"] = pa.repeat(pa.scalar(self._recording.number, pa.int32()), len(self._rows))
        made["stats"] = pa.repeat(self._recording.stats, len(self._rows)).dictionary_encode()
        return pa.table({**made, **masks})

    def _column(self, name: str, held: pa.Table) -> Any:
        steps = self._recording.steps.get(name)
        picture = name in self._recording.cameras("image") or name not in held.column_names
        if steps is None and not picture:
            return held.column(name)
        if steps is None:
            return ragged(self._pictures(name, self._rows))
        wanted = self._rows[:, None] + np.array(steps)
        near = np.clip(wanted, self._bounds[0], self._bounds[1] - 1)
        needed_rows, places = np.unique(near, return_inverse=True)
        if picture:
            values = np.stack(self._pictures(name, needed_rows))
        else:
            values = _stacked(self._held.column(name).take(pa.array(needed_rows - self._low)), name)
        return ragged(list(values[places.reshape(near.shape)])), ragged(list(wanted != near))

    def _pictures(self, name: str, rows: np.ndarray) -> list[np.ndarray]:
        if name in self._held.column_names:
            stored = self._held.column(name).take(pa.array(rows - self._low))
            return [_decoded(value, name, row) for value, row in zip(stored.to_pylist(), rows, strict=True)]
        times = self._held.column("timestamp").take(pa.array(rows - self._low))
        begin_s = self._episode[f"videos/{name}/from_timestamp"]
        place = {f"{p}_index": self._episode[f"videos/{name}/{p}_index"] for p in ("chunk", "file")}
        path = f"{self._recording.root}/{self._recording.info['video_path'].format(video_key=name, **place)}"
        wanted = begin_s + np.asarray(times, np.float64)
        with self._recording.system.open_input_file(path) as file:
            known, frames = _video(file, path, wanted[0], wanted[-1], self._recording.tolerance_s)
        return [frames[at] for at in _nearest(known, wanted, path, self._recording.tolerance_s)]


def _stacked(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """Numbers, or lists of numbers of one shape, as one array."""
    values = columns.to_numpy(column)
    if values.dtype != object:
        return values
    shapes = {np.shape(value) for value in values}
    if len(shapes) != 1:
        raise ValueError(f"feature {name!r} must have one shape to be put side by side, not {sorted(shapes)}")
    return np.stack([np.stack(v) if v.dtype == object else v for v in values])


def _decoded(value: Any, name: str, row: int) -> np.ndarray:
    image = needed("PIL.Image", "pillow", "reading images")
    if not value or value.get("bytes") is None:
        raise ValueError(f"feature {name!r} of row {row} holds no image, but {value!r}")
    with image.open(io.BytesIO(value["bytes"])) as opened:
        return np.asarray(opened.convert("RGB"))


def _video(
    file: Any, path: str, first_s: float, last_s: float, tolerance_s: float
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Times and pictures of a video's frames between two times.

    Raises:
        ValueError: the video is damaged.
    """
    av = needed("av", "av", "reading videos")
    found: list[tuple[float, np.ndarray]] = []
    try:
        with av.open(file) as container:
            stream = container.streams.video[0]
            container.seek(int(first_s / stream.time_base), stream=stream)  # to the key frame before it
            for frame in container.decode(stream):
                if frame.time is None or frame.time < first_s - tolerance_s:
                    continue
                if frame.time > last_s + tolerance_s:
                    break
                found.append((frame.time, frame.to_ndarray(format="rgb24")))
    except av.error.FFmpegError as error:
        raise ValueError(f"{path} cannot be read as a video: {error}") from error
    return np.array([time for time, _ in found]), [picture for _, picture in found]


def _nearest(known: np.ndarray, times: np.ndarray, path: str, tolerance_s: float) -> np.ndarray:
    """The place of the nearest of `known` for each time. Both ascend.

    Raises:
        ValueError: it is farther than allowed.
    """
    if not len(known):
        raise ValueError(
            f"{path} has no frame within {tolerance_s} s of {times[0]:.3f} s: see frame_tolerance_s"
        )
    after = np.clip(np.searchsorted(known, times), 0, len(known) - 1)
    before = np.maximum(after - 1, 0)
    best = np.where(np.abs(known[before] - times) <= np.abs(known[after] - times), before, after)
    far = times[np.abs(known[best] - times) > tolerance_s]
    if len(far):
        raise ValueError(
            f"{path} has no frame within {tolerance_s} s of {far[0]:.3f} s: see frame_tolerance_s"
        )
    return best
