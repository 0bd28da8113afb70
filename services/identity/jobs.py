"""Identity's schedule."""

from datetime import timedelta
from typing import cast

from services.identity.actions.deactivations import command_due
from services.identity.actions.expiry import deactivate_inactive, warn_inactive, warn_of_expiring_passwords
from services.identity.keyring import delete_retired, rotate_if_old
from services.identity.settings import Settings
from shared.db import utc_now
from shared.privacy.retention import tenant_ids
from shared.schedule import Schedule
from shared.service import Service

jobs = Schedule()


@jobs.every(seconds=2)
async def command_due_deactivations(service: Service) -> None:
    for tenant_id in await tenant_ids(service.database, active_only=True, queue="ix_deactivations_tenant_id_settle_by"):
        async with service.database.transaction(tenant_id) as session:
            await command_due(session, now=utc_now())


@jobs.every(hours=1)
async def warn_about_passwords(service: Service) -> None:
    for tenant_id in await tenant_ids(service.database, active_only=True):
        async with service.database.transaction(tenant_id) as session:
            await warn_of_expiring_passwords(session, now=utc_now())


@jobs.every(hours=24)
async def end_inactive_accounts(service: Service) -> None:
    settle = timedelta(seconds=_settings(service).settle_seconds)
    for tenant_id in await tenant_ids(service.database, active_only=True):
        async with service.database.transaction(tenant_id) as session:
            await warn_inactive(session, now=utc_now())
            await deactivate_inactive(session, settle=settle, now=utc_now())


@jobs.every(hours=1)
async def rotate_token_keys(service: Service) -> None:
    settings = _settings(service)
    async with service.database.transaction() as session:
        await rotate_if_old(session, settings.secrecy, days=settings.key_days, now=utc_now())
        await delete_retired(session, now=utc_now())


def _settings(service: Service) -> Settings:
    return cast(Settings, service.settings)
