"""Parts of serve.llm that need no model: text from tokens, the tree of prefixes, configs."""

import asyncio
from types import SimpleNamespace

import pytest
from ray.serve.llm import LLMConfig, LLMServingArgs

from narke.serve._private.common import DeploymentID, ReplicaID
from narke.serve.llm._private.text import TextStream
from narke.serve.llm.request_router import KVAwareRouter, PrefixTree
from narke.serve.request_router import PendingRequest, RunningReplica


class TestText:
    def pieces(self, texts, stop=()):
        stream = TextStream(lambda tokens: "".join(texts[t] for t in tokens).replace("?!", "é"), tuple(stop))
        given = [stream.add(token) for token in range(len(texts))]
        return [*given, stream.end()], stream.is_stopped

    def test_all_of_it_is_given(self):
        assert self.pieces(["a", "b", "c"]) == (["a", "b", "c", ""], False)

    def test_half_a_character_waits(self):
        pieces, _ = self.pieces(["a", "\ufffd", "b"])
        assert "".join(pieces) == "a\ufffdb" and pieces[1] == ""

    def test_a_stop_text_is_cut_off_even_across_tokens(self):
        pieces, is_stopped = self.pieces(["one ", "EN", "D two"], ["END"])
        assert "".join(pieces) == "one " and is_stopped

    def test_what_only_looks_like_a_stop_text_is_given(self):
        pieces, is_stopped = self.pieces(["one ", "EN", "ough"], ["END"])
        assert "".join(pieces) == "one ENough" and not is_stopped


class TestPrefixTree:
    def test_who_read_the_longest_beginning(self):
        tree = PrefixTree()
        tree.insert("hello world", "a")
        tree.insert("hello there", "b")
        assert tree.match("hello world, how", ["a", "b"]) == (11, {"a"})
        assert tree.match("hello", ["a", "b"]) == (5, {"a", "b"})
        assert tree.match("hello world", ["b"]) == (6, {"b"})
        assert tree.match("other", ["a", "b"]) == (0, set())

    def test_the_oldest_is_forgotten_first(self):
        tree = PrefixTree()
        for text in ("first text", "second text", "third text"):
            tree.insert(text, "a")
        assert tree.size["a"] == 31
        tree.evict("a", 21)
        assert tree.match("first text", ["a"])[0] == 0
        assert tree.match("third text", ["a"])[0] == 10

    def test_a_replica_is_forgotten(self):
        tree = PrefixTree()
        tree.insert("text", "a")
        tree.forget("a")
        assert tree.match("text", ["a"]) == (0, set()) and tree.size == {}


class TestKVAwareRouter:
    def order(self, router, text):
        """Replicas in the order in which the router would take them, and the request."""
        request = PendingRequest([SimpleNamespace(prompt=text)], {}, None)
        groups = asyncio.run(router.choose_replicas(list(router.curr_replicas.values()), request))
        return [sorted(replica.replica_id.unique_id for replica in group) for group in groups], request

    def router(self):
        deployment = DeploymentID("d", "app")
        made = KVAwareRouter(deployment, None)
        made.initialize_state()
        made.update_replicas(
            [
                RunningReplica((SimpleNamespace(mine=0, most=9), ReplicaID(name, deployment)))
                for name in ("a", "b")
            ]
        )
        return made

    def route(self, router, text, to):
        _, request = self.order(router, text)
        chosen = next(each for each in router.curr_replicas.values() if each.replica_id.unique_id == to)
        router.on_request_routed(request, chosen.replica_id, None)
        return chosen

    def test_nothing_known_is_all_the_same(self):
        assert self.order(self.router(), "hello")[0] == [["a", "b"]]

    def test_who_has_read_the_beginning_comes_first(self):
        router = self.router()
        self.route(router, "the quick brown fox", "a")
        assert self.order(router, "the quick brown dog")[0] == [["a"], ["b"]]
        assert self.order(router, "something else")[0] == [["b"], ["a"]]  # holds less

    def test_waiting_counts_as_much_as_reading_an_average_prompt(self):
        router = self.router()
        busy = self.route(router, "x" * 20, "a")
        busy._replica.mine = 1
        assert self.order(router, "x" * 20)[0] == [["b"], ["a"]]  # equal work, but "b" holds less
        busy._replica.mine = 2
        self.route(router, "y" * 10, "b")  # now the average is 15
        assert self.order(router, "x" * 20 + "z" * 40)[0] == [["b"], ["a"]]
        busy._replica.mine = 1
        assert self.order(router, "x" * 20 + "z" * 40)[0] == [["a"], ["b"]]

    def test_one_that_is_gone_is_forgotten(self):
        router = self.router()
        self.route(router, "the quick brown fox", "a")
        router.update_replicas([r for r in router.curr_replicas.values() if r.replica_id.unique_id == "b"])
        assert self.order(router, "the quick brown fox")[0] == [["b"]]


def test_configs_are_checked():
    with pytest.raises(ValueError, match="unique"):
        LLMServingArgs(llm_configs=[{"model_loading_config": {"model_id": "a"}}] * 2)
    with pytest.raises(ValueError, match="llm_engine"):
        LLMConfig(model_loading_config={"model_id": "a"}, llm_engine="other")
    with pytest.raises(ValueError, match="unknown options"):
        LLMConfig(model_loading_config={"model_id": "a"}, deployment_config={"replicas": 2})
