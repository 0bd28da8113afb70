"""index what waits by tenant"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_index_what_waits"
down_revision = "20261124_create_notify"


def upgrade() -> None:
    op.drop_index("ix_deliveries_due", "deliveries")
    op.create_index("ix_deliveries_open", "deliveries", ["tenant_id", "due_at"], postgresql_where=sa.text("state IN ('waiting', 'sending')"))
