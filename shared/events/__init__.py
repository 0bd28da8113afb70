"""The language of the suite: every event contract, by owner. Importing this package registers them all."""

from shared.events import billing, booking, erasure, feed, helpdesk, identity, notify, privacy

SERVICES = ("identity", "booking", "billing", "feed", "helpdesk", "notify", "privacy")

__all__ = ["SERVICES", "billing", "booking", "erasure", "feed", "helpdesk", "identity", "notify", "privacy"]
