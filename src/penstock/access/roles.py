"""What each role may do: a table, and nothing else. Pure."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What somebody is to a project."""

    VIEWER = "viewer"  # looks
    OPERATOR = "operator"  # runs pipelines, endpoints and rollouts
    APPROVER = "approver"  # also says which model may serve
    ADMIN = "admin"  # also says who may do what


class Permission(StrEnum):
    """What a command, or a request, asks for."""

    READ = "read"
    OPERATE = "operate"
    APPROVE = "approve"
    ADMINISTER = "administer"


MAY: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.READ}),
    Role.OPERATOR: frozenset({Permission.READ, Permission.OPERATE}),
    Role.APPROVER: frozenset({Permission.READ, Permission.OPERATE, Permission.APPROVE}),
    Role.ADMIN: frozenset(Permission),
}


def may(role: Role | None, permission: Permission, scopes: frozenset[Permission]) -> bool:
    """Whether a role includes a permission, and the scopes of the token do; None: no user."""
    return role is not None and permission in MAY[role] and permission in scopes


def roles_for(permission: Permission) -> tuple[Role, ...]:
    """Those that include it, the least first."""
    return tuple(role for role in Role if permission in MAY[role])
