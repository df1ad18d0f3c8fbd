"""Graphs before they run: how nodes are made, found, replaced and shown."""

import pytest

import narke
from narke.dag import ClassNode, DAGContext, FunctionNode, InputNode, MultiOutputNode
from narke.dag.dag_node import map_matching


@narke.remote
def add(x, y=1):
    return x + y


@narke.remote(num_cpus=0)
class Counter:
    def __init__(self, start=0):
        self.count = start

    def increase(self, amount):
        self.count += amount
        return self.count


def test_bind_makes_a_node():
    node = add.options(num_cpus=2).bind(1, y=2)
    assert isinstance(node, FunctionNode)
    assert (node.get_args(), node.get_kwargs(), node.get_options()) == ((1,), {"y": 2}, {"num_cpus": 2})


def test_nodes_are_equal_to_themselves_only():
    assert add.bind(1) != add.bind(1)
    node = add.bind(1)
    assert node == node and len({node, node}) == 1


def test_children_are_found_inside_containers():
    one, two = add.bind(1), add.bind(2)
    parent = add.bind({"list": [one, (two, 3)]}, y=one)
    assert parent._get_all_child_nodes() == [one, two]


def test_apply_recursive_calls_once_each_and_children_first():
    shared = add.bind(1)
    root = add.bind(shared, y=shared)
    seen = []
    result = root.apply_recursive(lambda node: seen.append(node.get_stable_uuid()) or len(seen))
    assert seen == [shared.get_stable_uuid(), root.get_stable_uuid()]
    assert result == 2


def test_traverse_visits_each_once():
    shared = add.bind(1)
    seen = []
    MultiOutputNode([add.bind(shared), add.bind(shared)]).traverse_and_apply(seen.append)
    assert len(seen) == 4 and len(set(seen)) == 4


def test_replacing_keeps_kinds_of_containers():
    replaced = map_matching({"a": [1, (2, 3)], "b": {4}}, lambda each: each == 2, lambda each: "two")
    assert replaced == {"a": [1, ("two", 3)], "b": {4}}


def test_methods_of_an_actor_are_chained():
    actor = Counter.bind(1)
    first, second = actor.increase.bind(2), actor.increase.bind(3)
    assert isinstance(actor, ClassNode)
    assert first.get_other_args_to_resolve()["prev_class_method_call"] is None
    assert second.get_other_args_to_resolve()["prev_class_method_call"] is first
    assert first.get_method_name() == "increase" and first.is_class_method_call


def test_unknown_method():
    with pytest.raises(AttributeError, match="decrease"):
        Counter.bind().decrease  # noqa: B018


@pytest.mark.parametrize("node", [add.bind(1), Counter.bind()], ids=["task", "actor"])
def test_remote_on_a_node_names_execute(node):
    with pytest.raises(AttributeError, match="execute"):
        node.remote  # noqa: B018


class TestInput:
    def test_takes_no_arguments(self):
        with pytest.raises(ValueError, match="execute"):
            InputNode(1)

    def test_needs_its_context(self):
        with pytest.raises(AssertionError, match="with InputNode"):
            add.bind(InputNode()).execute(1)

    def test_parts(self):
        with InputNode(input_type={0: int}) as given:
            assert given[0].key == 0 and given[0].get_result_type() == "int"
            assert given.name.key == "name" and given["name"].key == "name"
            with pytest.raises(TypeError, match="int index or str"):
                given[1.5]


def test_text_names_everything():
    text = str(add.bind(1, y=add.bind(2)))
    assert text.count("FunctionNode") == 2 and "kwargs={" in text


def test_context_is_one_for_the_process():
    assert DAGContext.get_current() is DAGContext.get_current()


def test_compiled_graphs_are_refused():
    with pytest.raises(NotImplementedError, match="execute"):
        add.bind(1).experimental_compile()
