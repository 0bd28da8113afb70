"""Events in. The help desk reacts to nothing but what every service reacts to (tenants, sessions, erasure)."""

from shared.bus import Consumers

consumers = Consumers("helpdesk")
