"""Who a caller is: signed identities between services, login tokens, and the keys of both.

signed   the identity that the gateway signs for each request, and services verify
tokens   login tokens, which auth_service issues and the gateway verifies
keys     `python -m shared.identity.keys`
"""

from shared.identity.signed import (
    ADMIN_ROLE,
    ALL_FLAGS,
    ALL_PERMISSIONS,
    GATEWAY,
    IDENTITY_HEADER,
    LIFETIME_S,
    SIGNERS,
    Flag,
    Identity,
    IdentitySigner,
    IdentityVerifier,
    Kind,
    Permission,
    public_key_of,
)

__all__ = [
    "ADMIN_ROLE",
    "ALL_FLAGS",
    "ALL_PERMISSIONS",
    "GATEWAY",
    "IDENTITY_HEADER",
    "LIFETIME_S",
    "SIGNERS",
    "Flag",
    "Identity",
    "IdentitySigner",
    "IdentityVerifier",
    "Kind",
    "Permission",
    "public_key_of",
]
