"""Signatures: calls that are surely right are known as such, others are checked like a direct call."""

import inspect
import pickle

import pytest

from narke._private.signatures import Signature


def plain(a, b=1): ...
def star(a, *rest): ...
def keyword_only(a, *, b): ...
def optional_keyword(a, *, b=1): ...
def positional_only(a, /, b): ...
def keywords(**named): ...
def everything(a, /, b, c=1, *rest, d, e=2, **named): ...


FUNCTIONS = [plain, star, keyword_only, optional_keyword, positional_only, keywords, everything]
CALLS = [
    ((), {}),
    ((1,), {}),
    ((1, 2), {}),
    ((1, 2, 3), {}),
    ((1, 2, 3, 4), {}),
    ((1,), {"b": 2}),
    ((1,), {"d": 2}),
    ((1, 2), {"d": 2}),
    ((1, 2), {"b": 2, "d": 3}),
    ((), {"a": 1}),
    ((), {"a": 1, "b": 2}),
    ((1,), {"z": 1}),
]


def is_right(function, args, kwargs):
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    return True


@pytest.mark.parametrize("args, kwargs", CALLS, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_check_agrees_with_a_call(function, args, kwargs):
    signature = pickle.loads(pickle.dumps(Signature.of(function)))
    if is_right(function, args, kwargs):
        signature.check(args, kwargs)
    else:
        with pytest.raises(TypeError):
            signature.check(args, kwargs)


@pytest.mark.parametrize("args, kwargs", CALLS, ids=str)
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_arity_never_lets_a_wrong_call_pass(function, args, kwargs):
    fewest, most, any_keywords = Signature.of(function).arity
    passes = fewest <= len(args) and (most == -1 or len(args) <= most) and (not kwargs or any_keywords)
    if passes:
        assert is_right(function, args, kwargs)


def test_arity_knows_plain_calls():
    assert Signature.of(plain).arity == (1, 2, False)
    assert Signature.of(star).arity == (1, -1, False)
    assert Signature.of(keywords).arity == (0, 0, True)


def test_self_is_left_out():
    class Thing:
        def method(self, x): ...

    assert Signature.of(Thing.method, skip_first=True).arity == (1, 1, False)


def test_without_a_signature():
    assert Signature.of(iter) is None
