"""note commanded erasures"""

from alembic import op

revision = "20261125_note_commanded"
down_revision = "20261125_name_ledger"


def upgrade() -> None:
    op.drop_constraint(op.f("ck_entries_outcome"), "entries")
    op.create_check_constraint(
        op.f("ck_entries_outcome"), "entries", "outcome IN ('commanded', 'completed', 'completed_with_retention')"
    )
