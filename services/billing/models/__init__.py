"""Billing's tables: who buys (`parties`), what was agreed (`orders`), what the law keeps (`documents`)."""

from services.billing.models.base import Base
from services.billing.models.documents import Claim, CreditReason, Document, DocumentKind, Payment, Refund, Series
from services.billing.models.orders import Nature, Order, OrderOrigin, OrderState, Price, Quote, QuoteState
from services.billing.models.parties import AccountParty, Party, Seller

__all__ = [
    "AccountParty", "Base", "Claim", "CreditReason", "Document", "DocumentKind", "Nature", "Order", "OrderOrigin",
    "OrderState", "Party", "Payment", "Price", "Quote", "QuoteState", "Refund", "Seller", "Series",
]  # fmt: skip
