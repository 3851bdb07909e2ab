"""Sessions that a password change ends, and login failures counted by network."""

from shared.database.migrations import run_sql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    run_sql(
        """
        -- Epoch seconds: a token that was issued before this moment is no longer good.
        ALTER TABLE users ADD COLUMN sessions_from bigint NOT NULL DEFAULT 0;

        COMMENT ON COLUMN login_attempts.address_digest IS
            'SHA-256 of an e-mail address, alone or together with the network it was tried from';

        -- Networks from which a login of an address has succeeded. No tenant data: digests only.
        CREATE TABLE login_networks (
            address_digest bytea NOT NULL,
            network_digest bytea NOT NULL,
            last_at        timestamptz NOT NULL,
            PRIMARY KEY (address_digest, network_digest)
        );
        CREATE INDEX login_networks_by_age ON login_networks (last_at);
        """
    )
