"""Graphs of calls: ``f.bind(x)`` makes a node instead of calling; ``node.execute()`` runs everything below it.

Nodes are `FunctionNode`, `ClassNode` (an actor), `ClassMethodNode`, `InputNode` (what execute() is given) and
`MultiOutputNode`. A graph runs as ordinary tasks and actor calls.
"""

from narke.dag.class_node import ClassMethodNode, ClassNode
from narke.dag.constants import (
    BIND_INDEX_KEY,
    COLLECTIVE_OPERATION_KEY,
    DAGNODE_TYPE_KEY,
    IS_CLASS_METHOD_OUTPUT_KEY,
    PARENT_CLASS_NODE_KEY,
    PREV_CLASS_METHOD_CALL_KEY,
)
from narke.dag.context import DAGContext
from narke.dag.dag_node import DAGNode
from narke.dag.function_node import FunctionNode
from narke.dag.input_node import DAGInputData, InputAttributeNode, InputNode
from narke.dag.output_node import MultiOutputNode
from narke.dag.vis_utils import plot

__all__ = [
    "BIND_INDEX_KEY",
    "COLLECTIVE_OPERATION_KEY",
    "DAGNODE_TYPE_KEY",
    "IS_CLASS_METHOD_OUTPUT_KEY",
    "PARENT_CLASS_NODE_KEY",
    "PREV_CLASS_METHOD_CALL_KEY",
    "ClassMethodNode",
    "ClassNode",
    "DAGContext",
    "DAGInputData",
    "DAGNode",
    "FunctionNode",
    "InputAttributeNode",
    "InputNode",
    "MultiOutputNode",
    "plot",
]
