"""freeze documents: the database refuses every change but the anonymization after the legal time"""

from alembic import op

revision = "20261124_freeze_documents"
down_revision = "20261124_create_billing"


def upgrade() -> None:
    op.execute("""
        CREATE FUNCTION freeze_document() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          IF TG_OP = 'UPDATE' AND current_setting('cowork.erasing', true) = 'on'
             AND NEW.buyer IS NULL AND NEW.salt IS NULL
             AND to_jsonb(NEW) - ARRAY['buyer', 'salt'] = to_jsonb(OLD) - ARRAY['buyer', 'salt'] THEN
            RETURN NEW;
          END IF;
          RAISE EXCEPTION 'a finalized document never changes' USING ERRCODE = 'CW409';
        END $$
    """)
    op.execute("""
        CREATE TRIGGER frozen BEFORE UPDATE OR DELETE ON documents
        FOR EACH ROW EXECUTE FUNCTION freeze_document()
    """)
