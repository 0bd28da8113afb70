"""The services of the suite: how each is made, and who subscribes to what."""

import importlib
from collections.abc import Mapping
from typing import Any, Literal

from shared.bus.amqp import AmqpTransport
from shared.bus.local import LocalTransport
from shared.bus.transport import Transport
from shared.events import SERVICES
from shared.events.subscribers import SUBSCRIBERS
from shared.service import Service
from shared.settings import ServiceSettings, SuiteSettings

# As a type, for arguments of commands: an unknown name is refused with the names that there are.
ServiceName = Literal["identity", "booking", "billing", "feed", "helpdesk", "notify", "privacy"]


def settings_class(name: str) -> type[ServiceSettings]:
    """Return a service's settings class."""
    found: type[ServiceSettings] = importlib.import_module(f"services.{name}.settings").Settings
    return found


def make_service(name: str, settings: ServiceSettings) -> Service:
    """Return a service, wired; nothing is started."""
    service: Service = importlib.import_module(f"services.{name}.app").create_service(settings)
    return service


def subscriptions() -> dict[str, list[str]]:
    """Return the event names that each service consumes."""
    return {name: sorted(t for t, services in SUBSCRIBERS.items() if name in services) for name in SERVICES}


def make_transport(suite: SuiteSettings, services: Mapping[str, Any]) -> Transport:
    """Return the transport of one process: RabbitMQ where its address is set, else the local one for all services."""
    if suite.amqp_url is not None:
        url = suite.amqp_url.get_secret_value()
        return AmqpTransport(url, namespace=suite.namespace, subscribed=SUBSCRIBERS)
    databases = {name: service.database for name, service in services.items()}
    return LocalTransport(databases, {name: service.consumers.types() for name, service in services.items()})
