"""How written files are called."""

from __future__ import annotations

from typing import Any


class FilenameProvider:
    """Names of written files; override the methods. Equal arguments must give equal names, so that a task that runs
    again writes the same files.

    Args:
        dataset_uuid: put before the rest of the name. file_format: ending, without dot.
    """

    def __init__(self, dataset_uuid: str | None = None, file_format: str | None = None):
        self._dataset_uuid, self._file_format = dataset_uuid, file_format

    def _named(self, *parts: Any) -> str:
        known = [str(p) for p in (self._dataset_uuid, *parts) if p is not None and p != ""]
        return "_".join(known) + (f".{self._file_format}" if self._file_format else "")

    def get_filename_for_block(
        self, block: Any, write_uuid: str = "", task_index: int = 0, block_index: int = 0
    ) -> str:
        """The name of the file of a block."""
        return self._named(write_uuid, f"{task_index:06}", f"{block_index:06}")

    def get_filename_for_task(self, write_uuid: str, task_index: int) -> str:
        """The name of the file of a task that writes a single one."""
        return self._named(write_uuid, f"{task_index:06}")

    def get_filename_for_row(
        self,
        row: dict[str, Any],
        write_uuid: str = "",
        task_index: int = 0,
        block_index: int = 0,
        row_index: int = 0,
    ) -> str:
        """The name of the file of a row."""
        return self._named(write_uuid, f"{task_index:06}", f"{block_index:06}", f"{row_index:06}")
