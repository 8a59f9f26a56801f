"""Why the server refuses a request. The text of each error is one clear sentence."""


class Refused(Exception):
    """The server is fine, and the request changed nothing."""


class NoFreeSlot(Refused):
    """Every slot has a session."""


class QueueFull(Refused):
    """Too many requests wait for a step."""


class UnknownSession(Refused):
    """No session has this id."""


class Busy(Refused):
    """The session has a request in progress."""


class Stopped(Refused):
    """A step failed, and the states are lost."""
