"""The optimiser for data frames' graphs."""

from __future__ import annotations

from typing import Any

__all__ = ["dataframe_optimize"]


def dataframe_optimize(dsk: Any, keys: Any, **kwargs: Any) -> Any:
    """Return a data frame's graph with only the tasks that `keys` need.

    Data frames of present Dask releases are optimised as expressions before they become graphs; what is left
    to do on a graph is to cull it.
    """
    from dask.core import flatten
    from dask.highlevelgraph import HighLevelGraph

    wanted = set(flatten(keys if isinstance(keys, (list, set)) else [keys]))
    if isinstance(dsk, HighLevelGraph):
        return dsk.cull(wanted)
    from dask.optimization import cull

    return cull(dsk, wanted)[0]
