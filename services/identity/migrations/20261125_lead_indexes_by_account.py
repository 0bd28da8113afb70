"""lead indexes by account"""

from alembic import op

revision = "20261125_lead_indexes_by_account"
down_revision = "20261124_create_identity"

# A cascade asks by the account alone, without its tenant: an index that starts with the tenant does not serve it.
INDEXES = {
    "sessions": ["account_id"],
    "links": ["account_id"],
    "past_passwords": ["account_id", "replaced_at"],
    "security_entries": ["account_id", "happened_at", "id"],
}


def upgrade() -> None:
    for table, columns in INDEXES.items():
        op.create_index(f"ix_{table}_account_id", table, columns)
        op.drop_index(f"ix_{table}_tenant_id_account_id", table)
    op.create_index("ix_deactivations_link_id", "deactivations", ["link_id"])
