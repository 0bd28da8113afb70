"""mention businesses: a buyer's numbers, and what a line sells"""

import sqlalchemy as sa
from alembic import op

revision = "20261124_mention_businesses"
down_revision = "20261124_revise_quotes"


def upgrade() -> None:
    op.add_column("parties", sa.Column("siren", sa.String(), nullable=True))
    op.add_column("parties", sa.Column("vat_id", sa.String(), nullable=True))
    nature = sa.Enum("services", "goods", name="nature", native_enum=False, length=32)
    op.add_column("prices", sa.Column("nature", nature, server_default="services", nullable=False))
    op.create_index("ix_orders_list", "orders", ["tenant_id", "created_at", "id"])
