"""Every module offers what its __all__ promises, and importing the package stays cheap."""

import importlib
import importlib.util
import pkgutil
import subprocess
import sys

import pytest

import narke.experimental
import narke.util
import narke.widgets

OPTIONAL = {"narke.util.dask": "dask", "narke.util.joblib.ray_backend": "joblib"}


def modules():
    for package in (narke.util, narke.experimental, narke.widgets):
        yield package.__name__
        for module in pkgutil.walk_packages(
            package.__path__, package.__name__ + ".", onerror=lambda name: None
        ):
            needed = [dep for name, dep in OPTIONAL.items() if (module.name + ".").startswith(name + ".")]
            if all(importlib.util.find_spec(dep) for dep in needed):
                yield module.name


@pytest.mark.parametrize("name", list(modules()))
def test_module_offers_its_names(name):
    module = importlib.import_module(name)
    assert list(module.__all__) == [each for each in module.__all__ if hasattr(module, each)]


def test_import_needs_only_the_standard_library():
    heavy = ["numpy", "pandas", "pyarrow", "cloudpickle", "joblib", "asyncio", "multiprocessing"]
    program = f"import sys, narke.util; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert out.stdout.strip() == "[]"


def test_placement_group_is_the_function_even_after_its_module_was_imported():
    module = importlib.import_module("narke.util.placement_group")
    narke.util.placement_group = module  # as an import under another name does
    assert narke.util.placement_group is module.placement_group


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        narke.util.nothing  # noqa: B018
