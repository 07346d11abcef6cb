"""Users and policies of ACL 2.0 (Java: `UserInfo`, `AclInfo`)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """A user of ACL 2.0; its password is not told.

    Attributes:
        name: Its name, the access key of its credentials.
        super_user: It may do everything.
        enabled: False when it is refused.
    """

    name: str
    super_user: bool
    enabled: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """What a user may do to a resource, in ACL 2.0.

    Attributes:
        user: Name of the user.
        resource: `Topic:orders`, `Topic:orders*`, ...
        actions: For example Pub, Sub, Get, or All.
        allowed: False when they are denied.
        sources: Addresses and networks from which this holds; empty for all.
        default: Asked only where no other policy of the user fits.
    """

    user: str
    resource: str
    actions: tuple[str, ...]
    allowed: bool
    sources: tuple[str, ...]
    default: bool
