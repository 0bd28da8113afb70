"""What can go wrong in the news feed."""

from shared.problems import Conflict, Forbidden, NotFound, Unprocessable


class PostNotFound(NotFound):
    """There is no such post, or it was deleted."""


class CommentNotFound(NotFound):
    """There is no such comment, or it was deleted."""


class NotYours(Forbidden):
    """Only its author can change this."""


class ThreadLocked(Conflict):
    """This thread is closed for new comments."""


class MentionNotAllowed(Unprocessable):
    """Somebody mentioned here is not in the directory."""


class MentionMissing(Unprocessable):
    """The text refers to a mention that the list does not contain."""
