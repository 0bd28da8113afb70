"""The privacy service, wired."""

from fastapi import APIRouter

from services.privacy.api import office, public, rights
from services.privacy.consumers import consumers
from services.privacy.jobs import jobs
from services.privacy.models import Base
from services.privacy.personal_data import PERSONAL_DATA
from services.privacy.settings import Settings
from shared.auth import FetchKeys
from shared.service import Service

router = APIRouter()
for part in (public, rights, office):
    router.include_router(part.router)


def create_service(settings: Settings, *, fetch_keys: FetchKeys | None = None) -> Service:
    return Service(
        "privacy",
        settings,
        metadata=Base.metadata,
        router=router,
        consumers=consumers,
        schedule=jobs,
        personal_data=PERSONAL_DATA,
        fetch_keys=fetch_keys,
    )
