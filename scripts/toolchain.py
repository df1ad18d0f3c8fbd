"""Brings a machine to where Narke builds: system packages and the virtual environment.

Standard library only: this runs before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
REQUIREMENTS = ROOT / "requirements-dev.txt"

APT_PACKAGES = (
    "ccache",
    "clang-19",
    "clang-format-19",
    "cmake",
    "flatbuffers-compiler",
    "libbenchmark-dev",
    "libboost1.81-dev",
    "libclang-rt-19-dev",
    "libflatbuffers-dev",
    "libgmock-dev",
    "libgtest-dev",
    "libhiredis-dev",
    "libsqlite3-dev",
    "libssl-dev",
    "libxxhash-dev",
    "llvm-19",
    "mold",
    "ninja-build",
    "python3-dev",
    "python3-venv",
)

# What tests start besides. Debian begins a Redis of its own with it: nobody who only builds is to get that.
TEST_PACKAGES = ("redis-server",)


# What the tests of the dashboard and of metrics use besides; without them these tests are left out.
BROWSER_PACKAGES = ("chromium", "nodejs", "npm", "prometheus")

LAUNCHER = """#!{python}
import sys

from narke._cli import main

sys.exit(main())
"""


def ensure(*more: str) -> None:
    """Install what is missing; return at once when nothing is.

    Args:
        more: Debian's names of packages that the build itself does not need.
    """
    ensure_system_packages((*APT_PACKAGES, *more))
    ensure_venv()


def ensure_system_packages(packages: tuple[str, ...] = APT_PACKAGES) -> None:
    """Install the missing packages on Debian 12; elsewhere name them and stop.

    Args:
        packages: Debian's names; those that the build needs by default.

    Raises:
        SystemExit: packages are missing and cannot be installed from here.
    """
    if not is_debian_12():
        require_tools()
        return
    missing = [name for name in packages if not is_installed(name)]
    if not missing:
        return
    if os.geteuid() == 0:
        prefix = []
    elif shutil.which("sudo"):
        prefix = ["sudo"]
    else:
        sys.exit(f"These packages are missing: {' '.join(missing)}. Install them as root with apt-get.")
    print(f"installing {len(missing)} packages: {' '.join(missing)}", flush=True)
    apt_get = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"]
    subprocess.run([*apt_get, "update"], check=True, stdin=subprocess.DEVNULL)
    subprocess.run(
        [*apt_get, "install", "-y", "--no-install-recommends", *missing],
        check=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )


def is_debian_12() -> bool:
    """Tell whether this is Debian 12, the system whose packages the build is made for."""
    release = Path("/etc/os-release")
    lines = release.read_text().splitlines() if release.exists() else []
    return "ID=debian" in lines and 'VERSION_ID="12"' in lines


def is_installed(package: str) -> bool:
    """Tell whether dpkg has the package fully installed."""
    query = ["dpkg-query", "-W", "-f=${db:Status-Status}", package]
    return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"


def require_tools() -> None:
    """Stop with the list of packages unless the build tools are on the path."""
    tools = ("clang++-19", "clang-format-19", "cmake", "flatc", "ninja")
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        sys.exit(
            f"This system is not Debian 12 and lacks {', '.join(missing)}. Install your system's "
            f"equivalents of these Debian packages, then run this again: {' '.join(APT_PACKAGES)}"
        )


def ensure_venv() -> None:
    """Make .venv with the pinned requirements, the source tree on its path, and a ``narke`` command."""
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    stamp = VENV / "requirements.sha256"
    if not stamp.exists() or stamp.read_text() != wanted:
        print("preparing .venv from requirements-dev.txt", flush=True)
        if not PYTHON.exists():
            subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
        install = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", str(REQUIREMENTS)], check=True, stdin=subprocess.DEVNULL)
        stamp.write_text(wanted)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    (VENV / "lib" / version / "site-packages" / "narke-tree.pth").write_text(f"{ROOT / 'python'}\n")
    launcher = VENV / "bin" / "narke"
    launcher.write_text(LAUNCHER.format(python=PYTHON))
    launcher.chmod(0o755)
