"""freeze terms: until when a reservation can be cancelled free of charge"""

import sqlalchemy as sa
from alembic import op

revision = "20261130_freeze_terms"
down_revision = "20261124_create_booking"


def upgrade() -> None:
    op.add_column("reservations", sa.Column("free_until", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE reservations SET free_until = starts_at - make_interval(hours => r.free_cancellation_hours)"
        " FROM resources r WHERE r.id = reservations.resource_id"
    )
    op.alter_column("reservations", "free_until", nullable=False)
    # The version before does not name the column, and may write during the change of version or on the way back.
    op.execute("""
        CREATE FUNCTION freeze_terms() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          NEW.free_until := NEW.starts_at - make_interval(hours =>
            (SELECT free_cancellation_hours FROM resources WHERE id = NEW.resource_id));
          RETURN NEW;
        END $$
    """)
    op.execute("""
        CREATE TRIGGER freeze_terms BEFORE INSERT ON reservations FOR EACH ROW WHEN (NEW.free_until IS NULL)
        EXECUTE FUNCTION freeze_terms()
    """)
