import warnings

import pytest

from narke.util import annotations as a


def test_level_goes_into_the_docstring_at_its_indentation():
    @a.PublicAPI(stability="alpha", api_group="Things")
    class Thing:
        """A thing.

        It does something.
        """

    lines = Thing.__doc__.splitlines()
    assert lines[0] == "A thing."
    assert any(line.startswith("        **PublicAPI (alpha):**") for line in lines)
    assert Thing._annotated_api_group == "Things"
    assert a._get_annotation_type(Thing) == "PublicAPI"


def test_stable_api_keeps_its_docstring():
    @a.PublicAPI
    def function():
        """Do it."""

    assert function.__doc__ == "Do it."
    assert a._is_annotated(function)


def test_annotation_is_not_inherited():
    @a.DeveloperAPI
    class Base:
        """Base."""

    class Child(Base):
        pass

    assert a._get_annotation_type(Base) == "DeveloperAPI"
    assert a._get_annotation_type(Child) == "Unknown"


def test_deprecated_function_warns_only_when_asked():
    @a.Deprecated
    def quiet():
        """Old."""
        return 1

    @a.Deprecated(message="Use new().", warning=True)
    def loud(x):
        """Old."""
        return x

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert quiet() == 1
    with pytest.warns(a.RayDeprecationWarning, match=r"loud.*Use new\(\)\."):
        assert loud(2) == 2
    assert "Use new()." in loud.__doc__


def test_deprecated_class_warns_when_made():
    @a.Deprecated(message="gone", warning=True)
    class Old:
        def __init__(self, x):
            self.x = x

    with pytest.warns(a.RayDeprecationWarning, match="gone"):
        assert Old(3).x == 3
    assert isinstance(Old, type)


@pytest.mark.parametrize(
    "call",
    [
        lambda: a.PublicAPI(stability="gamma"),
        lambda: a.PublicAPI(level=1),
        lambda: a.Deprecated(because=1),
        lambda: a.DeveloperAPI("text"),
    ],
)
def test_bad_arguments(call):
    with pytest.raises(ValueError):
        call()
