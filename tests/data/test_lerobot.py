"""LeRobot's datasets, written here as its format says: Parquet rows, MP4 videos of several episodes, images in rows."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.data.datasource import LeRobotDatasource

FPS = 10
EPISODES = ((0, 0, 4), (1, 0, 6), (2, 1, 5))  # number, file, frames
CAMERA, EYE = "observation.images.top", "observation.eye"


def shade(frame):
    """The grey of a frame's pictures."""
    return 10 + 15 * frame


def encoded(frame):
    image = pytest.importorskip("PIL.Image")
    out = io.BytesIO()
    image.fromarray(np.full((4, 6, 3), shade(frame), np.uint8)).save(out, "png")
    return {"bytes": out.getvalue(), "path": None}


def write_video(path, frames):
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = 32, 16, "yuv420p", 3
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.full((16, 32, 3), shade(frame), np.uint8))
            out.mux(stream.encode(picture))
        out.mux(stream.encode())


def write(root, video=True, image=True, fps=FPS):
    """Three episodes in two files."""
    features = {
        "observation.state": {"dtype": "float32", "shape": [2]},
        "timestamp": {"dtype": "float32", "shape": [1]},
    }
    features |= {
        n: {"dtype": "int64", "shape": [1]} for n in ("index", "episode_index", "frame_index", "task_index")
    }
    features |= {CAMERA: {"dtype": "video", "shape": [16, 32, 3]}} if video else {}
    features |= {EYE: {"dtype": "image", "shape": [4, 6, 3]}} if image else {}
    place = "chunk-{chunk_index:03d}/file-{file_index:03d}"
    info = {
        "codebase_version": "v3.0",
        "fps": fps,
        "features": features,
        "data_path": f"data/{place}.parquet",
    }
    info |= {"video_path": f"videos/{{video_key}}/{place}.mp4"} if video else {}
    (root / "meta/episodes/chunk-000").mkdir(parents=True)
    (root / "data/chunk-000").mkdir(parents=True)
    (root / "meta/info.json").write_text(json.dumps(info))
    (root / "meta/stats.json").write_text('{"observation.state": {"mean": [1.0, 2.0]}}')
    pq.write_table(
        pa.table({"task_index": [0, 1], "__index_level_0__": ["lift", "drop"]}), root / "meta/tasks.parquet"
    )
    rows, episodes = [], []
    for number, file, frames in EPISODES:
        first, inside = len(rows), sum(r["file"] == file for r in rows)
        for frame in range(frames):
            index = first + frame
            rows.append({"observation.state": [index * 1.0, -index], "timestamp": frame / FPS, "frame_index": frame,
                         "episode_index": number, "index": index, "task_index": number % 2, "file": file})  # fmt: skip
        about = {"episode_index": number, "dataset_from_index": first, "dataset_to_index": first + frames}
        about |= {"data/chunk_index": 0, "data/file_index": file}
        camera = {"chunk_index": 0, "file_index": file, "from_timestamp": inside / FPS}
        episodes.append(about | ({f"videos/{CAMERA}/{k}": v for k, v in camera.items()} if video else {}))
    pq.write_table(pa.Table.from_pylist(episodes), root / "meta/episodes/chunk-000/file-000.parquet")
    for file in (0, 1):
        own = [{k: v for k, v in row.items() if k != "file"} for row in rows if row["file"] == file]
        own = [row | ({EYE: encoded(row["index"])} if image else {}) for row in own]
        state = pa.array([row["observation.state"] for row in own], pa.list_(pa.float32()))
        table = pa.Table.from_pylist(own).set_column(0, "observation.state", state)
        pq.write_table(table, root / f"data/chunk-000/file-00{file}.parquet")
        if video:
            write_video(root / f"videos/{CAMERA}/chunk-000/file-00{file}.mp4", [row["index"] for row in own])
    return str(root)


@pytest.fixture(scope="module")
def recorded(cluster, tmp_path_factory):
    return write(tmp_path_factory.mktemp("lerobot"))


def test_rows_tasks_and_pictures(recorded):
    ds = ray.data.read_lerobot(recorded)
    rows = ds.take_all()
    assert [row["index"] for row in rows] == list(range(15)) and ds.count() == 15
    assert ds.materialize().num_blocks() == 2
    for row in rows:
        assert row["observation.state"] == [row["index"], -row["index"]]
        assert row["task"] == ("lift", "drop")[row["episode_index"] % 2]
        assert row["dataset_index"] == 0 and json.loads(row["stats"])["observation.state"]["mean"] == [
            1.0,
            2.0,
        ]
        assert row[EYE].shape == (4, 6, 3) and (row[EYE] == shade(row["index"])).all()
        assert row[CAMERA].shape == (16, 32, 3) and row[CAMERA].dtype == np.uint8
        assert abs(float(row[CAMERA].mean()) - shade(row["index"])) < 5
    names = ds.schema().names
    assert names[-4:] == [CAMERA, "task", "dataset_index", "stats"]


@pytest.mark.parametrize(("options", "blocks"), [
    ({"read_granularity": "episode"}, 3), ({"override_num_blocks": 1}, 1), ({"override_num_blocks": 7}, 7),
])  # fmt: skip
def test_blocks(recorded, options, blocks):
    ds = ray.data.read_lerobot(recorded, **options).materialize()
    assert ds.num_blocks() == blocks
    rows = ds.take_all()
    assert [row["index"] for row in rows] == list(range(15))
    assert all(abs(float(row[CAMERA].mean()) - shade(row["index"])) < 5 for row in rows)


def test_some_episodes_of_several_datasets(recorded, tmp_path):
    other = write(tmp_path / "other")
    rows = ray.data.read_lerobot([recorded, other], episodes=[1]).take_all()
    assert [(row["dataset_index"], row["index"]) for row in rows] == [
        (n, i) for n in (0, 1) for i in range(4, 10)
    ]
    with pytest.raises(ValueError, match=r"episodes \[7\]"):
        ray.data.read_lerobot(recorded, episodes=[1, 7])
    with pytest.raises(ValueError, match="differ in cameras"):
        ray.data.read_lerobot([recorded, write(tmp_path / "blind", video=False)])
    with pytest.raises(ValueError, match="differ in fps"):
        ray.data.read_lerobot([recorded, write(tmp_path / "fast", fps=20)])


def test_windows_end_with_their_episode(recorded):
    offsets = {"observation.state": [-0.1, 0.0, 0.2], CAMERA: [0.1], EYE: [-0.2, 0.0], "timestamp": [0.1]}
    ds = ray.data.read_lerobot(recorded, delta_timestamps=offsets)
    first = 0
    rows = ds.take_all()
    for number, _, frames in EPISODES:
        for row in rows[first : first + frames]:
            assert row["episode_index"] == number
            at = lambda *steps: np.clip([row["index"] + s for s in steps], first, first + frames - 1)  # noqa: B023, E731
            assert row["observation.state"][:, 0].tolist() == at(-1, 0, 2).tolist()
            pad = [row["index"] - 1 < first, False, row["index"] + 2 >= first + frames]
            assert row["observation.state_is_pad"].tolist() == pad
            assert row[EYE].shape == (2, 4, 6, 3) and row[EYE][:, 0, 0, 0].tolist() == [
                shade(i) for i in at(-2, 0)
            ]
            assert (
                row[CAMERA].shape == (1, 16, 32, 3) and abs(float(row[CAMERA].mean()) - shade(at(1)[0])) < 5
            )
            assert row["timestamp"].shape == (1,)
        first += frames
    with pytest.raises(ValueError, match="multiples of 1/10"):
        ray.data.read_lerobot(recorded, delta_timestamps={CAMERA: [0.05]})
    with pytest.raises(ValueError, match="no features"):
        ray.data.read_lerobot(recorded, delta_timestamps={"nothing": [0.1]})
    with pytest.raises(ValueError, match="2 blocks at most, not 3"):
        ray.data.read_lerobot(recorded, delta_timestamps=offsets, override_num_blocks=3).take_all()


def test_what_cannot_be_read_is_named(recorded, tmp_path):
    with pytest.raises(FileNotFoundError, match="info.json"):
        ray.data.read_lerobot(str(tmp_path / "nothing"))
    with pytest.raises(ValueError, match="read_granularity"):
        ray.data.read_lerobot(recorded, read_granularity="row")
    with pytest.raises(ValueError, match="frame_tolerance_s"):
        LeRobotDatasource(recorded, frame_tolerance_s=0)
    old = tmp_path / "old"
    (old / "meta").mkdir(parents=True)
    (old / "meta/info.json").write_text('{"codebase_version": "v2.1"}')
    with pytest.raises(ValueError, match=r"version v2\.1"):
        ray.data.read_lerobot(str(old))
    cut = tmp_path / "cut"
    write(cut)
    video = cut / f"videos/{CAMERA}/chunk-000/file-001.mp4"
    video.write_bytes(video.read_bytes()[:100])
    with pytest.raises(Exception, match="file-001.mp4"):
        ray.data.read_lerobot(str(cut)).take_all()
    write_video(video, [1, 2])
    with pytest.raises(Exception, match=r"file-001.mp4.*no frame within 0.05 s of 0\.\d+ s"):
        ray.data.read_lerobot(str(cut)).take_all()
