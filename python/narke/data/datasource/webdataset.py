"""WebDataset: tar files in which the files of one name, up to its first dot, make a row."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data.datasource.files import Reader

KEY = "__key__"
URL = "__url__"
ROWS = 256
IMAGES = ("jpg", "jpeg", "png", "ppm", "pgm", "pbm", "pnm")
TEXTS, NUMBERS = ("txt", "text", "transcript"), ("cls", "cls2", "index", "inx", "id", "count")


def decode(name: str, data: bytes) -> Any:
    """A value by the ending of its name. Pickles (pkl, pt, pth) stay bytes: a data file must not run code."""
    ending = name.rsplit(".", 1)[-1].lower()
    if ending in TEXTS:
        return data.decode()
    if ending in NUMBERS:
        return int(data)
    if ending == "json":
        return json.loads(data)
    if ending == "npy":
        return np.load(io.BytesIO(data), allow_pickle=False)
    if ending in IMAGES:
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(data)))
    return data


def encode(name: str, value: Any) -> bytes:
    """The bytes of a value by the ending of its name.

    Raises:
        TypeError: there is no way to write such a value under such a name.
    """
    ending = name.rsplit(".", 1)[-1].lower()
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if ending == "npy":
        held = io.BytesIO()
        np.save(held, np.asarray(value), allow_pickle=False)
        return held.getvalue()
    if ending in IMAGES:
        return _image(value, ending)
    if isinstance(value, (int, float, np.number)) or ending == "json":
        return json.dumps(value, default=_plain).encode()
    raise TypeError(
        f"a {type(value).__name__} cannot be written to the tar as {name!r}: give bytes, or use .npy or .json"
    )


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _image(value: Any, ending: str) -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(np.asarray(value)).save(held, format="JPEG" if ending == "jpg" else ending)
    return held.getvalue()


class WebDatasetReader(Reader):
    """Samples of tar files.

    Args:
        decoder: True decodes by ending, a function takes and gives a sample (dict), None or False leaves bytes.
        fileselect: names (or function of a name) of the files to take. filerename: function from name to name.
        suffixes: endings of columns to keep. expand_json: keys of JSON files become columns.
    """

    name = "WebDataset"

    def __init__(
        self,
        decoder: Any = True,
        fileselect: Any = None,
        filerename: Any = None,
        suffixes: list[str] | None = None,
        expand_json: bool = False,
    ):
        self._decoder, self._suffixes, self._expand = decoder, suffixes, expand_json
        self._selects: Callable[[str], bool] = _as_choice(fileselect)
        self._rename = filerename or (lambda name: name)

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        held: list[dict[str, Any]] = []
        try:
            for sample in self._samples(stream):
                held.append({**sample, URL: path})
                if len(held) == ROWS:
                    yield blk.from_rows(held)
                    held = []
        except tarfile.TarError as error:
            raise ValueError(f"it is no tar file: {error}") from error
        if held:
            yield blk.from_rows(held)

    def _samples(self, stream: Any) -> Iterator[dict[str, Any]]:
        sample: dict[str, Any] = {}
        with tarfile.open(fileobj=stream, mode="r|*") as tar:
            for member in tar:
                name = self._rename(member.name)
                inner = tar.extractfile(member) if member.isfile() else None
                if inner is None or not self._selects(name):
                    continue
                key, _, column = _split(name)
                if sample and sample[KEY] != key:
                    yield self._finished(sample)
                    sample = {}
                sample[KEY] = key
                if self._suffixes is None or column in self._suffixes:
                    sample[column] = inner.read()
        if sample:
            yield self._finished(sample)

    def _finished(self, sample: dict[str, Any]) -> dict[str, Any]:
        if callable(self._decoder):
            return self._decoder(sample)
        if not self._decoder:
            return sample
        made = {name: value if name == KEY else decode(name, value) for name, value in sample.items()}
        if self._expand:
            for name in [n for n in made if n.endswith("json") and isinstance(made[n], dict)]:
                made.update(made.pop(name))
        return made


def _split(name: str) -> tuple[str, str, str]:
    """(key, dot, column): the first dot of the file's own name divides them."""
    folder, slash, base = name.rpartition("/")
    stem, dot, column = base.partition(".")
    return folder + slash + stem, dot, column


def _as_choice(wanted: Any) -> Callable[[str], bool]:
    if wanted is None:
        return lambda name: True
    if callable(wanted):
        return wanted
    return lambda name: _split(name)[2] in wanted or name in wanted


def write_samples(encoder: Any) -> Callable[[pa.Table, Any], None]:
    """A writer of blocks as tar files; the row's "__key__", or its number, names its files."""

    def write(block: pa.Table, stream: Any) -> None:
        with tarfile.open(fileobj=stream, mode="w|") as tar:
            for number, row in enumerate(blk.iter_rows(block)):
                sample = encoder(row) if callable(encoder) else row
                key = str(sample.get(KEY, f"{number:06}"))
                for name, value in sample.items():
                    if name in (KEY, URL) or value is None:
                        continue
                    data = encode(name, value) if encoder else value
                    about = tarfile.TarInfo(f"{key}.{name}")
                    about.size = len(data)
                    tar.addfile(about, io.BytesIO(data))

    return write
