"""Parts of serve.llm that need no model: text from tokens, the tree of prefixes, configs."""

import pytest
from ray.serve.llm import LLMConfig, LLMServingArgs

from narke.serve.llm._private.text import TextStream
from narke.serve.llm.request_router import PrefixTree


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


def test_configs_are_checked():
    with pytest.raises(ValueError, match="unique"):
        LLMServingArgs(llm_configs=[{"model_loading_config": {"model_id": "a"}}] * 2)
    with pytest.raises(ValueError, match="llm_engine"):
        LLMConfig(model_loading_config={"model_id": "a"}, llm_engine="other")
    with pytest.raises(ValueError, match="unknown options"):
        LLMConfig(model_loading_config={"model_id": "a"}, deployment_config={"replicas": 2})
