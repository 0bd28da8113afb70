"""What a service is made of, wired: its two HTTP apps (public, internal) and its worker.

A service's `app.py` fills one `Service`; `deploy/` decides which of the three parts run in which process.
"""

import asyncio

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import generate_latest
from sqlalchemy import MetaData

from shared import problems
from shared.auth import FetchKeys, TokenVerifier
from shared.bus import Consumers
from shared.bus.transport import Transport
from shared.bus.worker import BusWorker
from shared.db import Database
from shared.files import Files
from shared.http import MAX_BODY_BYTES, Conventions, ProblemOut
from shared.internal import Internal
from shared.privacy import endpoints, reactions
from shared.privacy.erasure import Eraser
from shared.privacy.hooks import PersonalData
from shared.privacy.jobs import privacy_jobs
from shared.privacy.manifest import Manifest
from shared.schedule import Schedule, Scheduler
from shared.settings import ServiceSettings
from shared.telemetry import REGISTRY, configure_tracing


class Service:
    """One service of the suite: `public_app()`, `internal_app()` and `worker(transport)` share its database pool."""

    def __init__(
        self,
        name: str,
        settings: ServiceSettings,
        *,
        metadata: MetaData,
        router: APIRouter,
        internal: APIRouter | None = None,
        consumers: Consumers,
        schedule: Schedule | None = None,
        personal_data: PersonalData,
        fetch_keys: FetchKeys | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.database = Database(
            settings.database_url.get_secret_value(), pool_size=settings.pool_size, application_name=f"cowork-{name}"
        )
        self.files = Files(settings.suite.files_url, name, signing_key=settings.digest_key.get_secret_value())
        self.internal = Internal(name, settings.client_secret.get_secret_value(), settings.suite.internal_urls)
        self.verifier = TokenVerifier(fetch_keys or self.internal.keys)
        self.manifest = Manifest.of(name, metadata, personal_data.stores)
        self.eraser = Eraser(name, self.manifest, personal_data)
        self._router = router
        self._internal_router = internal
        self._consumers = Consumers(name)
        self._consumers.include(reactions.platform_reactions(self.eraser))
        self._consumers.include(consumers)
        self.schedule = Schedule()
        self.schedule.include(privacy_jobs)
        if schedule is not None:
            self.schedule.include(schedule)

    @property
    def consumers(self) -> Consumers:
        return self._consumers

    def public_app(self) -> FastAPI:
        """What the gateway reaches: `/api/<service>/v1/…` and its OpenAPI."""
        app = self._app(f"/api/{self.name}/v1", openapi_url=f"/api/{self.name}/openapi.json")
        app.include_router(self._router, prefix=f"/api/{self.name}/v1")
        return app

    def internal_app(self) -> FastAPI:
        """What never passes the gateway: `/internal/…` for services, health and metrics for operators."""
        app = self._app("/internal", openapi_url=None)
        app.include_router(endpoints.router, prefix="/internal")
        if self._internal_router is not None:
            app.include_router(self._internal_router, prefix="/internal")
        app.include_router(operations)
        return app

    def worker(self, transport: Transport) -> "Worker":
        """The part that relays, consumes and runs jobs; several may run, they share the work by leases."""
        return Worker(self, transport)

    async def close(self) -> None:
        await self.internal.close()
        await self.database.close()

    def _app(self, prefix: str, *, openapi_url: str | None) -> FastAPI:
        configure_tracing("cowork")
        app = FastAPI(
            title=f"cowork {self.name}",
            version="1",
            openapi_url=openapi_url,
            docs_url=None,
            redoc_url=None,
            # Its spans and logs record exceptions and validation errors, which quote personal data.
            telemetry={"tracing": False, "metrics": False, "logs": False},
            responses={422: {"model": ProblemOut, "description": "invalid_payload"}},
        )
        # Routers and routes inherit this limit, and a route may raise it for itself.
        app.router.max_body_size = MAX_BODY_BYTES
        app.state.service = self
        problems.install(app)
        app.add_middleware(Conventions, service=self.name)
        return app


class Worker:
    """One service's background half: bus and schedule, stopped in order."""

    def __init__(self, service: Service, transport: Transport) -> None:
        self.bus = BusWorker(service.name, service.database, service.consumers, transport)
        self.scheduler = Scheduler(service, service.schedule)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.bus.run())
            group.create_task(self.scheduler.run())

    async def stop(self) -> None:
        self.scheduler.stop()
        await self.bus.stop()


operations = APIRouter(tags=["operations"])


@operations.get("/livez", include_in_schema=False)
async def livez() -> dict[str, str]:
    return {"status": "alive"}


@operations.get("/readyz", include_in_schema=False)
async def readyz(request: Request) -> dict[str, str]:
    """Answers once the database does; a failure is a 503 problem."""
    await request.app.state.service.database.ping()
    return {"status": "ready"}


@operations.get("/metrics", include_in_schema=False)
async def metrics() -> Response:
    return Response(generate_latest(REGISTRY), media_type="text/plain; version=0.0.4")
