"""Functions that make datasets of files."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from narke.data._arguments import remote_arguments, unsupported
from narke.data.catalog import ReaderFormat, resolved
from narke.data.dataset import Dataset
from narke.data.datasource import files, media, paths
from narke.data.datasource.datasource import Datasource
from narke.data.datasource.file_based_datasource import shuffled_files
from narke.data.datasource.mcap import MCAPDatasource
from narke.data.datasource.parquet import ParquetSource
from narke.data.datasource.partitioning import Partitioning, PartitionStyle
from narke.data.datasource.tfrecord import TFRecordReader
from narke.data.datasource.webdataset import WebDatasetReader
from narke.data.read_api import read_source

__all__ = [
    "read_audio",
    "read_avro",
    "read_binary_files",
    "read_csv",
    "read_images",
    "read_json",
    "read_mcap",
    "read_numpy",
    "read_orc",
    "read_parquet",
    "read_text",
    "read_tfrecords",
    "read_videos",
    "read_webdataset",
]

IMAGE_EXTENSIONS = ["png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif"]
AUDIO_EXTENSIONS = ["mp3", "wav", "aac", "flac", "ogg", "m4a", "wma", "alac", "aiff", "pcm", "amr", "opus", "ra", "rm",
                    "au", "mid", "midi", "caf"]  # fmt: skip
VIDEO_EXTENSIONS = ["mp4", "mkv", "mov", "avi", "wmv", "flv", "webm", "m4v", "3gp", "mpeg", "mpg", "ts", "ogv", "rm",
                    "rmvb", "vob", "asf", "f4v", "m2ts", "mts", "divx", "xvid", "mxf"]  # fmt: skip
JSON_EXTENSIONS = ["json", "jsonl", "json.gz", "jsonl.gz", "json.br", "jsonl.br", "json.zst", "jsonl.zst",
                   "json.lz4", "jsonl.lz4"]  # fmt: skip


HIVE = Partitioning(PartitionStyle.HIVE)


class _FileOptions:
    """The arguments that all readers of files share; what is left over are the format's own."""

    def __init__(self, options: dict[str, Any], extensions: list[str] | None, partitioned: bool):
        take = options.pop
        self.filesystem = take("filesystem", None)
        self.parallelism, self.blocks = take("parallelism", -1), take("override_num_blocks", None)
        self.concurrency = take("concurrency", None)
        self.stream_args = take("arrow_open_stream_args", None) or take("arrow_open_file_args", None)
        self.include_paths = take("include_paths", False)
        self.ignore_missing = take("ignore_missing_paths", False)
        self.extensions = take("file_extensions", extensions)
        self.partitioning = take("partitioning", HIVE if partitioned else None)
        self.partition_filter = take("partition_filter", None)
        self.shuffle = take("shuffle", None)
        self.skipped = {paths.resolve(p, self.filesystem)[1] for p in take("skip_paths", None) or ()}
        unsupported(options, ("tensor_column_schema", "catalog", "include_row_hash", "meta_provider"))
        given = take("ray_remote_args", None) or {}
        self.remote_args = remote_arguments({**given, **_remote_options(options)})

    def files(self, given: Any) -> tuple[Any, list[paths.File]]:
        """The files of the paths, in random order when asked."""
        system, found = paths.expand(
            paths.as_list(given),
            self.filesystem,
            self.extensions,
            self.ignore_missing,
            self.partitioning,
            self.partition_filter,
        )
        found = [f for f in found if f.path not in self.skipped]
        return system, shuffled_files(found, self.shuffle)

    def dataset(self, source: Datasource) -> Dataset:
        """The dataset of a source."""
        return read_source(source, self.parallelism, self.concurrency, self.blocks, self.remote_args)


REMOTE_OPTIONS = ("num_cpus", "num_gpus", "memory", "resources", "accelerator_type", "runtime_env", "label_selector",
                  "fallback_strategy", "max_calls")  # fmt: skip


def _remote_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.pop(name) for name in REMOTE_OPTIONS if name in options}


def _read_files(given: Any, reader: files.Reader, chosen: _FileOptions) -> Dataset:
    system, found = chosen.files(given)
    return chosen.dataset(files.FileSource(reader, system, found, chosen.include_paths, chosen.stream_args))


def _no_more(options: dict[str, Any], function: str) -> None:
    if options:
        raise TypeError(f"{function}() got unexpected arguments {sorted(options)}")


_SHARED = """

    Args:
        paths: file, folder, URI, or list of them; folders are read with all that is in them.
        filesystem: pyarrow or fsspec filesystem; by default the one that the path names.
        include_paths: add column "path". ignore_missing_paths: leave out what does not exist.
        file_extensions: endings of the files to read. shuffle: "files" reads them in random order.
        partitioning: None takes folder names like ``year=2020`` for nothing but names.
        concurrency: most read tasks at once. override_num_blocks: number of read tasks.
        num_cpus and the like, ray_remote_args: resources of read tasks.

    Raises:
        FileNotFoundError: a path does not exist. ValueError: there are no files to read.
    """


def read_parquet(paths: Any, *, columns: list[str] | None = None, **options: Any) -> Dataset:
    """A dataset of Parquet files. `columns` are those to read; further arguments go to Arrow (such as `filter`).

    With a `catalog` (`narke.data.Catalog`), `paths` is the name of a table in it.
    """
    catalog = options.pop("catalog", None)
    if catalog is not None:
        place = resolved(catalog, paths, ReaderFormat.PARQUET)
        paths, options = place.path, {**options, "filesystem": options.get("filesystem") or place.filesystem}
    chosen = _FileOptions(options, ["parquet"], True)
    system, found = chosen.files(paths)
    return chosen.dataset(ParquetSource(system, found, columns, chosen.include_paths, options))


def read_parquet_files(
    base: str, names: list[str], values: list[dict[str, Any]], columns: Any, options: dict[str, Any]
) -> Dataset | None:
    """A dataset of given Parquet files below a folder, each with values of its own; None when there are none.

    Args:
        names: paths below `base`. values: further columns of each file. columns: to read, or None.
    """
    chosen = _FileOptions(options, None, False)
    system, root = paths.resolve(base, chosen.filesystem)
    known = dict(zip((f"{root}/{unquote(n)}" for n in names), values, strict=True))
    infos = system.get_file_info(list(known))
    found = [paths.File(i.path, i.size, tuple(known[i.path].items())) for i in infos]
    if not found:
        return None
    own = None if columns is None else [c for c in columns if c not in values[0]] + list(values[0])
    return chosen.dataset(ParquetSource(system, found, own, chosen.include_paths, options))


def read_csv(paths: Any, **options: Any) -> Dataset:
    """A dataset of CSV files; further arguments go to `pyarrow.csv.read_csv`."""
    chosen = _FileOptions(options, None, True)
    return _read_files(paths, files.CsvReader(options), chosen)


def read_json(paths: Any, *, lines: bool = False, **options: Any) -> Dataset:
    """A dataset of JSON lines, or of JSON arrays of objects; `lines` is found out by itself."""
    chosen = _FileOptions(options, JSON_EXTENSIONS, True)
    return _read_files(paths, files.JsonReader(options), chosen)


def read_text(
    paths: Any, *, encoding: str = "utf-8", drop_empty_lines: bool = True, **options: Any
) -> Dataset:
    """A dataset of lines in column "text"."""
    chosen = _FileOptions(options, None, False)
    _no_more(options, "read_text")
    return _read_files(paths, files.TextReader(encoding, drop_empty_lines), chosen)


def read_binary_files(paths: Any, **options: Any) -> Dataset:
    """A dataset of whole files in column "bytes"."""
    chosen = _FileOptions(options, None, False)
    _no_more(options, "read_binary_files")
    return _read_files(paths, files.BinaryReader(), chosen)


def read_numpy(paths: Any, *, allow_pickle: bool = False, **options: Any) -> Dataset:
    """A dataset of arrays saved by numpy, rows first, in column "data"."""
    chosen = _FileOptions(options, ["npy"], False)
    return _read_files(paths, files.NumpyReader({"allow_pickle": allow_pickle, **options}), chosen)


def read_images(
    paths: Any, *, size: tuple[int, int] | None = None, mode: str | None = None, **options: Any
) -> Dataset:
    """A dataset of images in column "image"; `size` is (height, width), `mode` Pillow's mode."""
    chosen = _FileOptions(options, IMAGE_EXTENSIONS, False)
    _no_more(options, "read_images")
    return _read_files(paths, files.ImageReader(size, mode), chosen)


def read_avro(paths: Any, **options: Any) -> Dataset:
    """A dataset of Avro container files; needs fastavro."""
    return _read_plainly(paths, media.AvroReader(), options, None, "read_avro")


def read_orc(paths: Any, **options: Any) -> Dataset:
    """A dataset of ORC files."""
    return _read_plainly(paths, media.OrcReader(), options, ["orc"], "read_orc")


def read_audio(paths: Any, **options: Any) -> Dataset:
    """A dataset of sounds: "amplitude" (channels x frames) and "sample_rate"; needs soundfile."""
    return _read_plainly(paths, media.AudioReader(), options, AUDIO_EXTENSIONS, "read_audio")


def read_videos(
    paths: Any,
    *,
    include_timestamps: bool = False,
    fps: float | None = None,
    resize: tuple[int, int] | None = None,
    **options: Any,
) -> Dataset:
    """A dataset of frames: "frame" (height x width x RGB) and "frame_index"; needs PyAV.

    `include_timestamps` adds "frame_timestamp", `fps` keeps so many frames a second, `resize` is (height, width).
    """
    reader = media.VideoReader(include_timestamps, fps, resize)
    return _read_plainly(paths, reader, options, VIDEO_EXTENSIONS, "read_videos")


def read_tfrecords(paths: Any, *, tf_schema: Any = None, **options: Any) -> Dataset:
    """A dataset of TFRecord files of tf.train.Example; needs no TensorFlow.

    `tf_schema` (of TensorFlow Metadata) is not built.
    """
    unsupported({"tf_schema": tf_schema}, ("tf_schema",))
    return _read_plainly(paths, TFRecordReader(), options, None, "read_tfrecords")


def read_mcap(
    paths: Any,
    *,
    topics: Any = None,
    time_range: Any = None,
    message_types: Any = None,
    include_metadata: bool = True,
    **options: Any,
) -> Dataset:
    """A dataset of the messages of MCAP files; needs mcap.

    `topics`, `message_types`: names of those to read; `time_range`: (start, end) in nanoseconds, or `TimeRange`;
    `include_metadata` adds what is known of channel and schema.
    """
    chosen = _FileOptions(options, ["mcap"], False)
    _no_more(options, "read_mcap")
    source = MCAPDatasource(
        paths,
        topics,
        time_range,
        message_types,
        include_metadata,
        filesystem=chosen.filesystem,
        partitioning=chosen.partitioning,
        partition_filter=chosen.partition_filter,
        ignore_missing_paths=chosen.ignore_missing,
        shuffle=chosen.shuffle,
        include_paths=chosen.include_paths,
        file_extensions=chosen.extensions,
    )
    return chosen.dataset(source)


def read_webdataset(
    paths: Any,
    *,
    decoder: Any = True,
    fileselect: Any = None,
    filerename: Any = None,
    suffixes: Any = None,
    verbose_open: bool = False,
    expand_json: bool = False,
    **options: Any,
) -> Dataset:
    """A dataset of WebDataset tar files, a row a sample; see `WebDatasetReader`. Pickles inside stay bytes."""
    reader = WebDatasetReader(decoder, fileselect, filerename, suffixes, expand_json)
    return _read_plainly(paths, reader, options, None, "read_webdataset")


def _read_plainly(
    paths: Any, reader: Any, options: dict[str, Any], extensions: Any, function: str
) -> Dataset:
    chosen = _FileOptions(options, extensions, False)
    _no_more(options, function)
    return _read_files(paths, reader, chosen)


for _reader in (read_avro, read_orc, read_audio, read_videos, read_tfrecords, read_webdataset, read_mcap):
    _reader.__doc__ = (_reader.__doc__ or "") + _SHARED
for _reader in (read_parquet, read_csv, read_json, read_text, read_binary_files, read_numpy, read_images):
    _reader.__doc__ = (_reader.__doc__ or "") + _SHARED
