"""note uploads before their files are stored; end what was written about requesters who are erased"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_note_uploads"
down_revision = "20261124_create_helpdesk"

# Surrogates are of version 4, accounts of version 7.
OF_ERASED = "(requester_id IS NULL OR substr(requester_id::text, 15, 1) = '4')"
_ON_THEIRS = f"ticket_id IN (SELECT id FROM tickets WHERE {OF_ERASED})"
REPAIRS = (
    f"UPDATE tickets SET state = 'closed', closed_at = now(), version = version + 1 WHERE state <> 'closed' AND {OF_ERASED}",
    f"UPDATE replies SET body = NULL WHERE body IS NOT NULL AND {_ON_THEIRS}",
    f"UPDATE notes SET body = NULL WHERE body IS NOT NULL AND {_ON_THEIRS}",
)
FILES = f"WITH gone AS (DELETE FROM attachments WHERE {_ON_THEIRS} RETURNING key) INSERT INTO file_deletions (path) SELECT key FROM gone"


def upgrade() -> None:
    op.create_table(
        "uploads",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("ticket_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["ticket_id"], ["tickets.id"], name=op.f("fk_uploads_ticket_id")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_uploads")),
    )
    op.create_index(op.f("ix_uploads_ticket_id"), "uploads", ["ticket_id"], unique=False)
    for repair in REPAIRS:
        op.execute(repair)
    # A database that is only being made has no file to delete, and perhaps not yet the platform's table.
    if op.get_bind().scalar(sa.text("SELECT to_regclass('public.file_deletions')")) is not None:
        op.execute(FILES)
