"""Values in the names of folders: ``year=2020/`` (hive) or ``2020/`` (directory)."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

PartitionDataType = type


class PartitionStyle(str, enum.Enum):
    """How folders are named: by key and value, or by value alone."""

    HIVE = "hive"
    DIRECTORY = "dir"


@dataclasses.dataclass
class Partitioning:
    """What the folders of a dataset mean.

    Args:
        style: see `PartitionStyle`. base_dir: folder below which folders have a meaning; all have by default.
        field_names: keys of the folders from the outside in; needed by `DIRECTORY`, checked by `HIVE`.
        field_types: by key, the Python type (int, float, str, bool) of its values; strings by default.
        filesystem: pyarrow filesystem of `base_dir`.
    """

    style: PartitionStyle | str
    base_dir: str | None = None
    field_names: list[str] | None = None
    field_types: dict[str, Any] | None = None
    filesystem: Any = None

    def __post_init__(self) -> None:
        self.style = PartitionStyle(self.style)
        self.field_types = dict(self.field_types or {})
        if self.style is PartitionStyle.DIRECTORY and not self.field_names:
            raise ValueError("Partitioning: style DIRECTORY needs field_names")

    @property
    def normalized_base_dir(self) -> str:
        """`base_dir` without its scheme, with one slash at its end; empty when there is none."""
        plain = (self.base_dir or "").split("://", 1)[-1].rstrip("/")
        return plain + "/" if plain else ""

    @property
    def resolved_filesystem(self) -> Any:
        """The filesystem of `base_dir`: the one given, else the one that the path names."""
        from narke.data.datasource import paths

        return paths.resolve(self.base_dir or "", self.filesystem)[0]

    def to_pyarrow(self) -> Any:
        """The same of `pyarrow.dataset`."""
        import pyarrow.dataset as pds

        names = {float: pa.float64(), int: pa.int64(), bool: pa.bool_()}
        kinds = {key: names.get(kind, pa.string()) for key, kind in (self.field_types or {}).items()}
        fields = [pa.field(key, kinds.get(key, pa.string())) for key in self.field_names or kinds]
        schema = pa.schema(fields) if fields else None
        return pds.partitioning(schema, flavor="hive" if self.style is PartitionStyle.HIVE else None)


class PathPartitionParser:
    """Reads the values in a path's folders."""

    def __init__(self, partitioning: Partitioning):
        self._partitioning = partitioning

    @staticmethod
    def of(
        style: PartitionStyle | str = PartitionStyle.HIVE,
        base_dir: str | None = None,
        field_names: list[str] | None = None,
        field_types: dict[str, Any] | None = None,
        filesystem: Any = None,
    ) -> PathPartitionParser:
        """The parser of a `Partitioning` of these arguments."""
        return PathPartitionParser(Partitioning(style, base_dir, field_names, field_types, filesystem))

    @property
    def scheme(self) -> Partitioning:
        """What it goes by."""
        return self._partitioning

    def __call__(self, path: str) -> dict[str, Any]:
        """The values by key; empty for a path outside `base_dir`.

        Raises:
            ValueError: the folders do not fit `field_names`.
        """
        base = self._partitioning.normalized_base_dir
        if base and not path.startswith(base):
            return {}
        folders = [f for f in path[len(base) :].split("/")[:-1] if f]
        found = self._hive(folders, path) if self._is_hive else self._plain(folders, path)
        return {key: self._typed(key, unquote(value)) for key, value in found.items()}

    def evaluate_predicate_on_partition(self, path: str, predicate: Any) -> bool:
        """Whether an expression may hold for rows of a path; True where its folders do not say."""
        found = self(path)
        if not predicate.columns <= set(found):
            return True
        row = pa.table({key: [value] for key, value in found.items()})
        return predicate.evaluate(row)[0].as_py() is not False

    @property
    def _is_hive(self) -> bool:
        return self._partitioning.style is PartitionStyle.HIVE

    def _hive(self, folders: list[str], path: str) -> dict[str, str]:
        found = dict(f.split("=", 1) for f in folders if "=" in f)
        names = self._partitioning.field_names
        if found and names and list(found) != names:
            raise ValueError(f"{path} has the partition keys {list(found)}; field_names are {names}")
        return found

    def _plain(self, folders: list[str], path: str) -> dict[str, str]:
        names = self._partitioning.field_names or []
        if not folders:
            return {}
        if len(folders) != len(names):
            raise ValueError(f"{path} has {len(folders)} folders; field_names are {names}")
        return dict(zip(names, folders, strict=True))

    def _typed(self, key: str, value: str) -> Any:
        kind = (self._partitioning.field_types or {}).get(key)
        if kind is None or kind is str:
            return value
        if kind is bool:
            return value.lower() in ("true", "1")
        return kind(value)


class PathPartitionFilter:
    """Chooses files by the values in their folders."""

    def __init__(
        self, path_partition_parser: PathPartitionParser, filter_fn: Callable[[dict[str, Any]], bool]
    ):
        self._parser, self._filter = path_partition_parser, filter_fn

    @staticmethod
    def of(
        filter_fn: Callable[[dict[str, Any]], bool],
        style: PartitionStyle | str = PartitionStyle.HIVE,
        base_dir: str | None = None,
        field_names: list[str] | None = None,
        field_types: dict[str, Any] | None = None,
        filesystem: Any = None,
    ) -> PathPartitionFilter:
        """A filter by a function of the values, which are those of `PathPartitionParser.of`."""
        parser = PathPartitionParser.of(style, base_dir, field_names, field_types, filesystem)
        return PathPartitionFilter(parser, filter_fn)

    @property
    def parser(self) -> PathPartitionParser:
        """What reads the values."""
        return self._parser

    def apply(self, path: str) -> bool:
        """Whether a path is chosen."""
        return bool(self._filter(self._parser(path)))

    def __call__(self, paths: list[str]) -> list[str]:
        """The chosen ones of paths."""
        return [path for path in paths if self.apply(path)]


def constant(value: Any, rows: int) -> pa.Array:
    """A column of one value."""
    return pa.repeat(pa.scalar(value), rows)
