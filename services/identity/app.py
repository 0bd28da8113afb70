"""Identity, wired."""

from fastapi import APIRouter

from services.identity.api import accounts, doors, members, security, tenants
from services.identity.api.internal import internal
from services.identity.consumers import consumers
from services.identity.jobs import jobs
from services.identity.keyring import key_ring
from services.identity.models import Base
from services.identity.personal_data import personal_data
from services.identity.settings import Settings
from shared.service import Service

router = APIRouter()
for part in (tenants, doors, security, members, accounts):
    router.include_router(part.router)


def create_service(settings: Settings | None = None) -> Service:
    settings = settings or Settings()
    service = Service(
        "identity",
        settings,
        metadata=Base.metadata,
        router=router,
        internal=internal,
        consumers=consumers,
        schedule=jobs,
        personal_data=personal_data,
        # Identity verifies with its own keys instead of asking itself over HTTP.
        fetch_keys=lambda: key_ring(service.database, settings.secrecy).published(),
    )
    return service
