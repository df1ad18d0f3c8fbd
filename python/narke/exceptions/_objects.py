"""What becomes of objects that cannot be had."""

from __future__ import annotations

from typing import Any

from narke.exceptions._base import RayError


class ObjectStoreFullError(RayError):
    """The node's object store has no room, and nothing in it can be evicted or spilled."""

    def __str__(self) -> str:
        return super().__str__() + (
            "\nThe local object store is full of objects that are still in scope and cannot be evicted. "
            "`narke memory` lists them; drop references, or give init(object_store_memory=...) more."
        )


class OutOfDiskError(RayError):
    """The object store is full and the disk it would spill to is too."""

    def __str__(self) -> str:
        return super().__str__() + (
            "\nThe object cannot be created: the local object store is full and the disk for spilled objects is "
            "over its limit. `df` shows the disk, `narke memory` the objects."
        )


class ObjectLostError(RayError):
    """Every copy of an object is gone.

    Args:
        object_ref_hex: the object's id in hex.
        owner_address: the owner, if known.
        call_site: where the reference was made, if it was recorded.
    """

    def __init__(self, object_ref_hex: str, owner_address: Any, call_site: str) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = (call_site or "").replace("|", "\n  ")
        self.detail = ""

    def _base_str(self) -> str:
        origin = (
            f"The ObjectRef was created at: {self.call_site}"
            if self.call_site
            else "To see where this ObjectRef was created, set RAY_record_ref_creation_sites=1 for the program."
        )
        return f"Failed to retrieve object {self.object_ref_hex}. {origin}"

    def _reason(self) -> str:
        return f"All copies of {self.object_ref_hex} have been lost due to node failure."

    def __str__(self) -> str:
        detail = f" {self.detail}" if self.detail else ""
        return f"{self._base_str()}\n\n{self._reason()}{detail}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_object_error, (type(self), self.args, vars(self))


def _rebuild_object_error(
    cls: type[ObjectLostError], args: tuple[Any, ...], state: dict[str, Any]
) -> ObjectLostError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class ObjectFetchTimedOutError(ObjectLostError):
    """No place that holds the object could be found in time."""

    def _reason(self) -> str:
        return f"Fetch for object {self.object_ref_hex} timed out because no locations were found for the object."


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted while a reference to it still existed."""

    def _reason(self) -> str:
        return (
            "The object has already been deleted by the reference counting protocol. This should not happen."
        )


class ObjectFreedError(ObjectLostError):
    """The object was freed by hand."""

    def _reason(self) -> str:
        return (
            "The object was freed by an explicit call of `free`; call it only when nobody needs the object."
        )


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and could not be computed again.

    Args:
        object_ref_hex: the object's id in hex.
        reason: kind of the obstacle.
        reason_message: the obstacle in words.
        owner_address: the owner, if known.
        call_site: where the reference was made, if it was recorded.
    """

    def __init__(
        self,
        object_ref_hex: str,
        reason: Any = None,
        reason_message: str | None = None,
        owner_address: Any = None,
        call_site: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.reason = reason
        self.reason_message = reason_message or "The engine did not say why."

    def _reason(self) -> str:
        kind = getattr(self.reason, "name", self.reason) or "UNKNOWN"
        return f"The object was lost and could not be reconstructed: [{kind}] {self.reason_message}"


class OwnerDiedError(ObjectLostError):
    """The process that owns the object died, and the object's fate with it."""

    def _reason(self) -> str:
        return (
            "The object's owner has exited: the program that created the ObjectRef with `.remote()` or `put()`. "
            "Its last output is in the session's log folder."
        )


class PlasmaObjectNotAvailable(RayError):
    """The object is not in the local store within the given time."""
