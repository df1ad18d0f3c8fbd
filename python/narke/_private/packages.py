"""Folders as zip files named by their content, and back."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import re
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator

__all__ = [
    "MAX_PACKAGE_BYTES",
    "MAX_REMOTE_BYTES",
    "fingerprint",
    "ignore_rules",
    "package",
    "package_folder",
    "unpack",
    "walk",
]

MAX_PACKAGE_BYTES = 500 << 20
MAX_REMOTE_BYTES = 8 << 30
_MAX_UNPACKED_BYTES = 8 << 30
# The earliest time that a zip file can hold; the same content gives the same bytes.
_EPOCH = (1980, 1, 1, 0, 0, 0)
_LEFT_OUT = ".git,.venv,venv,__pycache__"


class _Rule:
    """One line of a .gitignore file (gitignore(5))."""

    def __init__(self, line: str) -> None:
        self.keeps = line.startswith("!")
        pattern = line[1:] if self.keeps else line
        self.folders_only = pattern.endswith("/")
        pattern = pattern.rstrip("/")
        anchored = "/" in pattern
        self._matches = re.compile(
            ("" if anchored else "(?:.*/)?") + _expression(pattern.lstrip("/"))
        ).fullmatch

    def applies(self, path: str, is_folder: bool) -> bool:
        return (is_folder or not self.folders_only) and self._matches(path) is not None


def _expression(pattern: str) -> str:
    out = ""
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            out, at = out + "(?:.*/)?", at + 3
        elif pattern.startswith("**", at):
            out, at = out + ".*", at + 2
        elif pattern[at] == "*":
            out, at = out + "[^/]*", at + 1
        elif pattern[at] == "?":
            out, at = out + "[^/]", at + 1
        elif pattern[at] == "[" and "]" in pattern[at:]:
            end = pattern.index("]", at) + 1
            out, at = out + fnmatch.translate(pattern[at:end])[4:-3], end
        else:
            out, at = out + re.escape(pattern[at]), at + 1
    return out


def ignore_rules(lines: Iterable[str]) -> list[_Rule]:
    """The rules of lines as in a .gitignore file; comments and empty lines are none."""
    cleaned = (line.rstrip("\n").rstrip() for line in lines)
    return [_Rule(line) for line in cleaned if line and not line.startswith("#")]


def walk(folder: str, excludes: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """Files of a folder that go into its package: (path, path within the package), in order.

    Left out are what `excludes`, .rayignore and .gitignore (the last unless RAY_RUNTIME_ENV_IGNORE_GITIGNORE=1) say,
    the names of RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES (version control, virtual environments, caches by default),
    and what is no plain file.

    Raises:
        ValueError: a link leads out of the folder.
    """
    rules = ignore_rules(excludes)
    is_git_ignored = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE") == "1"
    for name in [".rayignore"] if is_git_ignored else [".rayignore", ".gitignore"]:
        ignore_file = os.path.join(folder, name)
        if os.path.isfile(ignore_file):
            with open(ignore_file, encoding="utf-8", errors="replace") as file:
                rules = ignore_rules(file) + rules
    left_out = os.environ.get("RAY_OVERRIDE_RUNTIME_ENV_DEFAULT_EXCLUDES", _LEFT_OUT).split(",")
    yield from _walk_below(os.path.realpath(folder), "", rules, frozenset(left_out))


def _walk_below(
    root: str, inner: str, rules: list[_Rule], left_out: frozenset[str]
) -> Iterator[tuple[str, str]]:
    with os.scandir(os.path.join(root, inner)) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        path = f"{inner}{entry.name}"
        if entry.name in left_out or _is_ignored(path, entry.is_dir(), rules):
            continue
        if entry.is_symlink() and not os.path.realpath(entry.path).startswith(root + os.sep):
            raise ValueError(
                f"{entry.path} is a link that leads out of {root}, to {os.path.realpath(entry.path)}. Leave it out "
                "with 'excludes' or .gitignore, or put what it points to in its place."
            )
        if entry.is_dir(follow_symlinks=False):
            yield from _walk_below(root, f"{path}/", rules, left_out)
        elif entry.is_file():
            yield entry.path, path


def _is_ignored(path: str, is_folder: bool, rules: list[_Rule]) -> bool:
    ignored = False
    for rule in rules:
        if rule.applies(path, is_folder):
            ignored = not rule.keeps
    return ignored


def package_folder(folder: str, target_dir: str, excludes: Iterable[str] = (), top: str = "") -> str:
    """Write a folder's package; returns its path. Its name is the hash of what is in it.

    Args:
        folder: what to pack.
        target_dir: where to write it.
        excludes: lines as in a .gitignore file.
        top: a folder within the package to put everything in.

    Raises:
        ValueError: the package is too large; the largest files are named.
    """
    digest = hashlib.sha256(top.encode())
    sizes: list[tuple[int, str]] = []
    handle, draft = tempfile.mkstemp(suffix=".zip", dir=target_dir)
    try:
        with (
            os.fdopen(handle, "wb") as out,
            zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            for path, name in walk(folder, excludes):
                _add(archive, path, f"{top}/{name}" if top else name, digest)
                sizes.append((os.path.getsize(path), name))
                if out.tell() > MAX_PACKAGE_BYTES:
                    raise _too_large(folder, sizes)
        target = os.path.join(target_dir, f"_ray_pkg_{digest.hexdigest()[:32]}.zip")
        os.replace(draft, target)
        return target
    except BaseException:
        os.unlink(draft)
        raise


def _too_large(folder: str, sizes: list[tuple[int, str]]) -> ValueError:
    largest = ", ".join(f"{name} ({size >> 20} MiB)" for size, name in sorted(sizes, reverse=True)[:5])
    return ValueError(
        f"The package of {folder} exceeds the maximum size of {MAX_PACKAGE_BYTES >> 20} MiB. Leave files out with the "
        "'excludes' option of runtime_env or a .gitignore file, or give the URI of an archive; the largest files so "
        f"far are {largest}."
    )


def package(path: str, target_dir: str, excludes: Iterable[str] = (), *, as_module: bool = False) -> str:
    """The package of what a local path of a runtime environment names; returns its file.

    Args:
        path: a directory; an archive or wheel, which is its own package; for modules also a .py file.
        target_dir: where to write a package that is made.
        excludes: lines as in a .gitignore file.
        as_module: it is to be imported by its name.

    Raises:
        ValueError: it is none of these, is too large, or holds links that lead out of it.
    """
    path = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(path):
        return package_folder(path, target_dir, excludes, top=os.path.basename(path) if as_module else "")
    if os.path.isfile(path) and path.endswith((".zip", ".whl", ".jar", ".tar.gz", ".tgz", ".tar.xz")):
        return _copy_by_content(path, target_dir)
    if as_module and path.endswith(".py") and os.path.isfile(path):
        with tempfile.TemporaryDirectory(dir=target_dir) as folder:
            shutil.copy2(path, folder)
            return package_folder(folder, target_dir)
    kinds = "a directory, an archive or a .py file" if as_module else "a directory or an archive"
    raise ValueError(f"{path!r} is not {kinds} that exists")


def _copy_by_content(path: str, target_dir: str) -> str:
    if os.path.getsize(path) > MAX_PACKAGE_BYTES:
        raise _too_large(path, [(os.path.getsize(path), os.path.basename(path))])
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else None
        if digest is None:  # Python 3.10
            digest = hashlib.sha256(file.read()).hexdigest()
    name = os.path.basename(path)
    # A wheel's name says what it is; others need only their ending.
    ending = next(e for e in (".whl", ".tar.gz", ".tgz", ".tar.xz", ".jar", ".zip") if name.endswith(e))
    kept = f"{digest[:16]}-{name}" if ending == ".whl" else f"_ray_pkg_{digest[:32]}{ending}"
    target = os.path.join(target_dir, kept)
    shutil.copyfile(path, target)
    return target


def fingerprint(path: str, excludes: Iterable[str] = ()) -> tuple[object, ...]:
    """What changes when a local path's content does: names, sizes and times of its files."""
    path = os.path.abspath(os.path.expanduser(path))
    files = list(walk(path, excludes)) if os.path.isdir(path) else [(path, "")]
    stats = [(name, os.stat(file)) for file, name in files]
    return (path, *((name, info.st_size, info.st_mtime_ns, info.st_mode) for name, info in stats))


def _add(archive: zipfile.ZipFile, path: str, name: str, digest: hashlib._Hash) -> None:
    info = zipfile.ZipInfo(name, _EPOCH)
    mode = stat.S_IMODE(os.stat(path).st_mode)
    info.external_attr = (stat.S_IFREG | mode) << 16
    info.compress_type = zipfile.ZIP_DEFLATED
    digest.update(f"{name}\0{mode & 0o111}\0".encode())
    with open(path, "rb") as source, archive.open(info, "w") as to:
        while piece := source.read(1 << 20):
            digest.update(piece)
            to.write(piece)


def unpack(package: str, target: str, *, strip_single_folder: bool = False) -> str:
    """Unpack an archive into `target`, in one step; returns `target`. Present already: nothing is done.

    Args:
        package: a zip file (wheels and jars are such), or a tar file by its name.
        target: the folder to make.
        strip_single_folder: when all lies in one folder, that folder's content becomes `target`.

    Raises:
        ValueError: it is no archive, leads out of its folder, or is too large unpacked.
    """
    if os.path.isdir(target):
        return target
    os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
    draft = tempfile.mkdtemp(dir=os.path.dirname(target))
    try:
        (_extract_tar if ".tar." in package or package.endswith(".tgz") else _extract)(package, draft)
        inner = os.listdir(draft)
        single = os.path.join(draft, inner[0]) if strip_single_folder and len(inner) == 1 else ""
        os.rename(single if single and os.path.isdir(single) else draft, target)
    except FileExistsError:  # another job has unpacked the same package
        pass
    except OSError:
        if not os.path.isdir(target):
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return target


def _extract(package: str, folder: str) -> None:
    try:
        archive = zipfile.ZipFile(package)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{os.path.basename(package)} is no zip file: {error}") from error
    with archive:
        members = archive.infolist()
        if sum(member.file_size for member in members) > _MAX_UNPACKED_BYTES:
            raise ValueError(
                f"{os.path.basename(package)} is larger than {_MAX_UNPACKED_BYTES >> 30} GiB unpacked"
            )
        for member in members:
            _extract_one(archive, member, folder)


def _extract_one(archive: zipfile.ZipFile, member: zipfile.ZipInfo, folder: str) -> None:
    name = member.filename
    mode = member.external_attr >> 16
    if name.startswith("/") or "\\" in name or ".." in name.split("/") or "\0" in name:
        raise ValueError(f"the package holds {name!r}, which leads out of its folder")
    if stat.S_ISLNK(mode):
        raise ValueError(f"the package holds the link {name!r}; pack what it points to")
    path = os.path.join(folder, name)
    if member.is_dir():
        os.makedirs(path, exist_ok=True)
        return
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with archive.open(member) as source, open(path, "wb") as to:
        shutil.copyfileobj(source, to, 1 << 20)
    if mode & 0o111:
        os.chmod(path, 0o700)


def _extract_tar(package: str, folder: str) -> None:
    import tarfile

    try:
        with tarfile.open(package) as archive:
            members = archive.getmembers()
            if sum(member.size for member in members) > _MAX_UNPACKED_BYTES:
                raise ValueError(
                    f"{os.path.basename(package)} is larger than {_MAX_UNPACKED_BYTES >> 30} GiB unpacked"
                )
            archive.extractall(folder, members, filter="data")
    except tarfile.FilterError as error:
        raise ValueError(
            f"the package {os.path.basename(package)} leads out of its folder: {error}"
        ) from error
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{os.path.basename(package)} cannot be unpacked: {error}") from error
