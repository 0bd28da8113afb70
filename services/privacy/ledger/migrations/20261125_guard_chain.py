"""guard the chain's end"""

from alembic import op

revision = "20261125_guard_chain"
down_revision = "20261125_note_commanded"

# Whatever the caller's search path is, a table of its own is never taken for the ledger's.
_FUNCTION = """CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN
 IF NOT EXISTS (SELECT FROM public.checkpoints WHERE position >= OLD.position{condition}) THEN
  RAISE EXCEPTION 'position % of the ledger may not go: no checkpoint takes its place', OLD.position
   USING ERRCODE = 'insufficient_privilege';
 END IF;
 RETURN NULL; END $$"""
# At the commit: pruning deletes first, and notes afterwards what takes the place.
_TRIGGER = (
    "CREATE CONSTRAINT TRIGGER {name} AFTER DELETE ON {table} DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION {name}()"
)


def upgrade() -> None:
    for table, condition in (("entries", " AND pruned > 0"), ("checkpoints", "")):
        op.execute(_FUNCTION.format(name=f"keep_{table}", condition=condition))
        op.execute(_TRIGGER.format(name=f"keep_{table}", table=table))
