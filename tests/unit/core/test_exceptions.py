"""Exceptions: what they say, and that they stay themselves across processes."""

import errno
import pickle
import threading

import cloudpickle
import pytest

from narke import exceptions
from narke.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    GetTimeoutError,
    ObjectLostError,
    OwnerDiedError,
    RayActorError,
    RayError,
    RaySystemError,
    RayTaskError,
    TaskCancelledError,
    engine_error,
)


def task_error(cause):
    return RayTaskError("f", f"ray::f()\n{type(cause).__name__}: {cause}\n", cause, "ray::f", 12, "10.0.0.1")


def across(exception):
    return pickle.loads(cloudpickle.dumps(exception))


class TwoArguments(Exception):
    def __init__(self, code, note):
        super().__init__(f"{note} ({code})")
        self.code = code


class HoldsALock(Exception):
    def __init__(self):
        super().__init__("locked")
        self.lock, self.kept = threading.Lock(), 5


class Refuses(Exception):
    def __init_subclass__(cls, **kwargs):
        raise TypeError("final")


class TestDual:
    @pytest.mark.parametrize(
        "cause",
        [
            ValueError("x"),
            KeyError("k"),
            FileNotFoundError(errno.ENOENT, "no", "path"),
            UnicodeDecodeError("utf8", b"a", 0, 1, "bad"),
            StopIteration(3),
            SystemExit(2),
            TwoArguments(7, "seven"),
            RaySystemError("inner"),
            ActorDiedError(),
        ],
        ids=lambda cause: type(cause).__name__,
    )
    def test_is_both(self, cause):
        dual = task_error(cause).as_instanceof_cause()
        assert isinstance(dual, RayTaskError) and isinstance(dual, type(cause))
        assert type(dual).__name__ == f"RayTaskError({type(cause).__name__})"
        assert dual.cause is cause and dual.args == (cause,)
        assert str(dual) == str(task_error(cause))
        assert type(across(dual)) is type(dual)

    def test_the_class_is_made_once(self):
        first, second = (task_error(ValueError(i)).as_instanceof_cause() for i in range(2))
        assert type(first) is type(second)

    def test_attributes_are_those_of_the_cause(self):
        assert task_error(TwoArguments(7, "seven")).as_instanceof_cause().code == 7
        error = task_error(FileNotFoundError(errno.ENOENT, "no", "path")).as_instanceof_cause()
        assert (error.errno, error.filename) == (errno.ENOENT, "path")
        assert task_error(StopIteration(3)).as_instanceof_cause().value == 3

    def test_attributes_of_the_task_remain(self):
        dual = task_error(ValueError("x")).as_instanceof_cause()
        assert (dual.function_name, dual.pid, dual.ip) == ("f", 12, "10.0.0.1")

    def test_unknown_attribute(self):
        with pytest.raises(AttributeError):
            task_error(ValueError("x")).as_instanceof_cause().nothing  # noqa: B018

    def test_falls_back_to_the_plain_error(self):
        error = task_error(Refuses("x"))
        assert error.as_instanceof_cause() is error

    def test_nested_errors_stay_as_they_are(self):
        error = task_error(task_error(ValueError("x")))
        assert error.as_instanceof_cause() is error


class TestPickling:
    def test_own_constructor(self):
        cause = across(task_error(TwoArguments(7, "seven"))).cause
        assert type(cause) is TwoArguments
        assert (cause.code, str(cause)) == (7, "seven (7)")

    def test_what_does_not_pickle_is_left_out(self):
        cause = across(task_error(HoldsALock())).cause
        assert type(cause) is HoldsALock
        assert cause.kept == 5 and not hasattr(cause, "lock")

    @pytest.mark.parametrize(
        "error",
        [
            TaskCancelledError("ab", "because"),
            RayActorError("aa", "gone", True, True),
            ActorUnavailableError("lost", b"\1" * 16),
            OwnerDiedError("ab" * 28, None, ""),
            RaySystemError("x", "trace"),
            GetTimeoutError("late"),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_round_trip(self, error):
        twin = across(error)
        assert type(twin) is type(error)
        assert str(twin) == str(error) and vars(twin) == vars(error)

    def test_to_and_from_bytes(self):
        error = RayError.from_bytes(task_error(ValueError("x")).to_bytes())
        assert isinstance(error, RayTaskError) and isinstance(error.cause, ValueError)


class TestEngineErrors:
    def test_every_kind_makes_its_class(self):
        for kind in exceptions.__all__:
            if kind in ("RAY_EXCEPTION_TYPES", "CrossLanguageError", "RayTaskError"):
                continue
            error = engine_error(kind, "what happened", "ab")
            assert type(error).__name__ == kind
            assert "what happened" in str(error)

    def test_unknown_kind(self):
        error = engine_error("Strange", "text", "")
        assert isinstance(error, RaySystemError) and "Strange: text" in str(error)

    def test_object_errors_name_the_object(self):
        error = engine_error("ObjectLostError", "node gone", "cd" * 28)
        assert isinstance(error, ObjectLostError) and error.object_ref_hex == "cd" * 28
        assert "cd" * 28 in str(error)

    def test_actor_errors_name_the_actor(self):
        assert engine_error("ActorDiedError", "killed", "ee").actor_id == "ee"

    def test_built_in_kinds(self):
        assert type(engine_error("ValueError", "bad")) is ValueError


class TestTexts:
    def test_failed_constructor(self):
        error = ActorDiedError.from_task_error(task_error(ValueError("init")))
        assert error.actor_init_failed
        assert "creation task" in str(error) and "ValueError: init" in str(error)

    def test_actor_died_without_a_cause(self):
        assert "died unexpectedly" in str(ActorDiedError())

    def test_timeout_is_a_timeout(self):
        assert issubclass(GetTimeoutError, TimeoutError)
