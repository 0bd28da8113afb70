"""The billing service, wired."""

from fastapi import APIRouter

from services.billing.api import documents, offers, parties, quotes
from services.billing.consumers import consumers
from services.billing.jobs import jobs
from services.billing.models import Base
from services.billing.personal_data import PERSONAL_DATA
from services.billing.settings import Settings
from shared.auth import FetchKeys
from shared.service import Service

router = APIRouter()
for part in (parties, offers, quotes, documents):
    router.include_router(part.router)


def create_service(settings: Settings, *, fetch_keys: FetchKeys | None = None) -> Service:
    return Service(
        "billing",
        settings,
        metadata=Base.metadata,
        router=router,
        internal=documents.internal,
        consumers=consumers,
        schedule=jobs,
        personal_data=PERSONAL_DATA,
        fetch_keys=fetch_keys,
    )
