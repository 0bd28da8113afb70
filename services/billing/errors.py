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


class RefundNotFound(NotFound):
    """This credit note makes no refund due."""


class AddressNotFound(NotFound):
    """You have given no billing address."""


class SellerNotFound(NotFound):
    """Nobody has entered who sells yet."""


class MemberUnknown(NotFound):
    """There is no such member."""


class QuoteExpired(Conflict):
    """This quote is no longer valid: ask for a new one."""


class QuoteAnswered(Conflict):
    """This quote has been answered or replaced already."""


class RefundPaid(Conflict):
    """This refund was paid already, on another day."""


class BuyerErased(Conflict):
    """The buyer's account is erased, and nothing personal may be added: note the payment without a note."""


class SellerUnknown(Conflict):
    """Enter who sells (PUT /seller) before anything is invoiced."""


class CreditExceedsInvoice(Unprocessable):
    """A credit note cannot exceed what remains of its invoice."""


class MixedCurrencies(Unprocessable):
    """One order has one currency."""


class AmountTooLarge(Unprocessable):
    """This total is larger than one document may carry."""


class ValidityPassed(Unprocessable):
    """A quote cannot end before it begins."""
