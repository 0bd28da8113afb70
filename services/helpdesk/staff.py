"""Who may be given a ticket, as identity knows it."""

from uuid import UUID

from services.helpdesk.errors import NotStaff
from shared.auth import Caller
from shared.events.identity import Role
from shared.internal import Internal


async def check_staff(internal: Internal, caller: Caller, account_id: UUID) -> None:
    """Raises NotStaff unless the account is an active manager or administrator; BadGateway when nobody can say.

    A caller who takes a ticket is known already.
    """
    if account_id == caller.account_id and caller.is_staff:
        return
    # Accounts are listed by id: the first one after the id just below is this one, if it is there at all.
    before = UUID(int=max(account_id.int - 1, 0))
    answer = await internal.get("identity", "accounts", tenant_id=caller.tenant_id, after=before, limit=1)
    roles = {role for one in answer["accounts"] if one["id"] == str(account_id) for role in one["roles"]}
    if not roles & {Role.MANAGER, Role.ADMIN}:
        raise NotStaff
