"""How commands that only look reach a cluster: as observers, for which no worker is started."""

from __future__ import annotations

import contextlib
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CommandError", "connected", "run", "session_of"]


class CommandError(Exception):
    """What went wrong and what to do next, for the terminal."""


@contextlib.contextmanager
def connected(address: str | None) -> Iterator[str]:
    """Be connected to a running cluster of this machine; gives its address.

    Args:
        address: the cluster's; None for $RAY_ADDRESS, or else the latest one.

    Raises:
        CommandError: there is no such cluster.
    """
    from narke._private import observer, session, sessions_dir

    folder = session_of(address)
    with observer.observing(folder) as info:
        own = sessions_dir.read_info(folder).get("address", folder)
        facts = {"address": own, "gcs_address": own, "session_dir": folder}
        session.open_session(session.Session(session.SCRIPT_MODE, info, "", address_info=facts))
        try:
            yield own
        finally:
            session.close()


def session_of(address: str | None) -> str:
    """The folder of a running cluster of this machine; parameters and errors as for `connected`."""
    from narke._private import sessions_dir

    wanted = (
        (address or os.environ.get("RAY_ADDRESS") or "auto").removeprefix("narke://").removeprefix("ray://")
    )
    base = sessions_dir.base_dir()
    if wanted == "auto":
        found = sessions_dir.newest(base)
        if found is None:
            raise CommandError(
                "no cluster was started with `narke start` here, or it has ended. Name the one to look at with "
                "--address (init() returns it), or start one with `narke start --head`."
            )
        return found
    if os.path.isabs(wanted) and os.path.isdir(wanted):
        return wanted
    found = sessions_dir.find_by_address(base, wanted)
    if found is None:
        raise CommandError(
            f"no running cluster of this machine has the address {wanted!r}. Sessions are looked for in {base}."
        )
    return found


def run(command: str, action: object, *arguments: object) -> int:
    """Call `action`; returns 0, or 1 after telling on the standard error output what went wrong."""
    try:
        action(*arguments)  # type: ignore[operator]
    except BrokenPipeError:  # whoever read the output has seen enough
        sys.stdout = None  # type: ignore[assignment]
    except Exception as error:
        from narke.exceptions import RayError

        is_told = isinstance(error, (CommandError, RayError, ValueError, OSError))
        if not is_told and type(error).__module__ != "narke.util.state.exception":
            raise
        print(f"narke {command}: {error}", file=sys.stderr)
        return 1
    return 0
