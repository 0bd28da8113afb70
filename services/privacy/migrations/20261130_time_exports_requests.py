"""time exports and requests"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_time_exports_requests"
down_revision = "20261130_index_what_waits"


def upgrade() -> None:
    op.add_column("exports", sa.Column("due_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False))
    op.add_column("requests", sa.Column("extension_reason", sa.String()))
    op.add_column("requests", sa.Column("granting_until", sa.DateTime(timezone=True)))
