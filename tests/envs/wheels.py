"""Small wheels, built without a network."""

from __future__ import annotations

import os
import zipfile


def build(
    folder, name: str, version: str, source: str | dict[str, str], requires: tuple[str, ...] = ()
) -> str:
    """Write a wheel of one module `name` with that source, or of several files; returns its path."""
    path = os.path.join(str(folder), f"{name}-{version}-py3-none-any.whl")
    info = f"{name}-{version}.dist-info"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}"]
    metadata += [f"Requires-Dist: {each}" for each in requires]
    files = {
        **({f"{name}.py": source} if isinstance(source, str) else source),
        f"{info}/METADATA": "\n".join(metadata) + "\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
        archive.writestr(f"{info}/RECORD", record)
    return path


def offline(folder) -> list[str]:
    """Options with which pip takes wheels of a folder only."""
    return ["--no-index", "--disable-pip-version-check", f"--find-links={folder}"]
