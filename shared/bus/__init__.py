"""The bus: `publish` inside a business transaction, `Consumers.on` for reactions; nothing is lost, doubled or reordered."""

from shared.bus.consumers import Consumers
from shared.bus.contracts import AccountId, Envelope, Event, Label, event
from shared.bus.outbox import handling, publish, publish_all

__all__ = ["AccountId", "Consumers", "Envelope", "Event", "Label", "event", "handling", "publish", "publish_all"]
