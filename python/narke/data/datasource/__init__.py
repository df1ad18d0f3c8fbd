"""Data sources (what read tasks there are) and sinks (what is done with each block)."""

from narke.data.datasource.datasource import Datasource, ReadTask
from narke.data.datasource.sinks import SaveMode

__all__ = ["Datasource", "ReadTask", "SaveMode"]
