"""Keys of what nodes keep beside their arguments, and settings read from the environment."""

import os

__all__ = [
    "BIND_INDEX_KEY",
    "COLLECTIVE_OPERATION_KEY",
    "DAGNODE_TYPE_KEY",
    "IS_CLASS_METHOD_OUTPUT_KEY",
    "PARENT_CLASS_NODE_KEY",
    "PREV_CLASS_METHOD_CALL_KEY",
]

PARENT_CLASS_NODE_KEY = "parent_class_node"
PREV_CLASS_METHOD_CALL_KEY = "prev_class_method_call"
BIND_INDEX_KEY = "bind_index"
IS_CLASS_METHOD_OUTPUT_KEY = "is_class_method_output"
COLLECTIVE_OPERATION_KEY = "collective_operation"
DAGNODE_TYPE_KEY = "__dag_node_type__"


def _flag(name: str, default: str) -> bool:
    return os.environ.get(name, default) == "1"


RAY_CGRAPH_ENABLE_DETECT_DEADLOCK = _flag("RAY_CGRAPH_ENABLE_DETECT_DEADLOCK", "1")
RAY_CGRAPH_ENABLE_PROFILING = _flag("RAY_CGRAPH_ENABLE_PROFILING", "0")
RAY_CGRAPH_ENABLE_NVTX_PROFILING = _flag("RAY_CGRAPH_ENABLE_NVTX_PROFILING", "0")
RAY_CGRAPH_ENABLE_TORCH_PROFILING = _flag("RAY_CGRAPH_ENABLE_TORCH_PROFILING", "0")
RAY_CGRAPH_VISUALIZE_SCHEDULE = _flag("RAY_CGRAPH_VISUALIZE_SCHEDULE", "0")
