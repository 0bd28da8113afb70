"""The erasure ledger, in a database of its own (docs/decisions/0028): what a restore replays before anybody is served."""

from services.privacy.ledger.chain import COMMANDED, ChainBroken, Entry, Ledger, open_ledger

__all__ = ["COMMANDED", "ChainBroken", "Entry", "Ledger", "open_ledger"]
