"""What can go wrong with money."""

from shared.problems import Conflict, NotFound, Unprocessable


class PriceNotFound(NotFound):
    """There is no such product on the price list."""


class OrderNotFound(NotFound):
    """There is no such order that you can see."""


class QuoteNotFound(NotFound):
    """There is no such quote that you can see."""


class DocumentNotFound(NotFound):
    """There is no such document that you can see."""


class AddressNotFound(NotFound):
    """You have given no billing address."""


class MemberUnknown(NotFound):
    """There is no such member."""


class QuoteExpired(Conflict):
    """This quote is no longer valid: ask for a new one."""


class QuoteAnswered(Conflict):
    """This quote has been answered already."""


class CreditExceedsInvoice(Unprocessable):
    """A credit note cannot exceed what remains of its invoice."""


class SellerUnknown(Conflict):
    """Enter who sells (PUT /seller) before anything is invoiced."""
