"""create ledger"""

import sqlalchemy as sa
from alembic import op

revision = "20261125_create_ledger"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "entries",
        sa.Column("position", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("subject_hmac", sa.LargeBinary(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("manifests_digest", sa.LargeBinary(), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(), nullable=True),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "octet_length(subject_hmac) = 32 AND octet_length(hash) = 32", name=op.f("ck_entries_hashes")
        ),
        sa.CheckConstraint(
            "octet_length(manifests_digest) = 32 AND octet_length(previous_hash) = 32",
            name=op.f("ck_entries_optional_hashes"),
        ),
        sa.CheckConstraint("outcome IN ('completed', 'completed_with_retention')", name=op.f("ck_entries_outcome")),
        sa.CheckConstraint("content IN ('keep', 'remove')", name=op.f("ck_entries_content")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_entries")),
        sa.UniqueConstraint("subject_hmac", name=op.f("uq_entries_subject_hmac")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("pruned", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("seal", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("octet_length(hash) = 32 AND octet_length(seal) = 32", name=op.f("ck_checkpoints_hashes")),
        sa.CheckConstraint("pruned >= 0", name=op.f("ck_checkpoints_pruned")),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "runs",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("databases", sa.BigInteger(), nullable=False),
        sa.Column("files", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("subjects", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('backup', 'restore', 'drill')", name=op.f("ck_runs_kind")),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_runs")),
    )
