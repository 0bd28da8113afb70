"""index what waits by tenant"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_index_what_waits"
down_revision = "20261124_mention_businesses"


def upgrade() -> None:
    op.drop_index("ix_orders_due", "orders")
    op.create_index("ix_orders_due", "orders", ["tenant_id", "created_at"], postgresql_where=sa.text("state = 'due'"))
