"""name ledger"""

import sqlalchemy as sa
from alembic import op

revision = "20261125_name_ledger"
down_revision = "20261125_create_ledger"


def upgrade() -> None:
    op.create_table(
        "origin",
        sa.Column("id", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_origin")),
    )
    op.execute("INSERT INTO origin DEFAULT VALUES")
