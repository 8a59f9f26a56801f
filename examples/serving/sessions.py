"""Which session has which slot, and when it was last used. Nothing here knows HTTP."""

import dataclasses
import secrets
import time

from refusals import Busy, NoFreeSlot, UnknownSession


@dataclasses.dataclass(eq=False)
class Session:
    """A sequence that is being read, in a slot of its own."""

    id: str
    slot: int
    used: float
    steps: int = 0
    """Steps so far. A session with none begins from the zero state."""
    busy: bool = False
    """Whether a request is in progress. A busy session keeps its slot."""


class Sessions:
    """A fixed number of slots, and the sessions in them.

    Args:
        slots: how many sessions there can be at once.
        timeout: a session that is idle for more seconds is dropped.
        clock: seconds, of any beginning.
    """

    def __init__(self, slots: int, timeout: float, clock=time.monotonic):
        self.slots, self.timeout, self._clock = slots, timeout, clock
        self._free = [*reversed(range(slots))]
        self._sessions: dict[str, Session] = {}

    def __len__(self):
        return len(self._sessions)

    def claim(self) -> Session:
        """A new session.

        Raises:
            NoFreeSlot: every slot is in use.
        """
        if not self._free:
            self.drop_idle()
        if not self._free:
            raise NoFreeSlot(f"All {self.slots} sessions are in use; try again later.")
        session = Session(secrets.token_urlsafe(12), self._free.pop(), self._clock())
        self._sessions[session.id] = session
        return session

    def find(self, id: str) -> Session:
        """The session with an id; it counts as used now.

        Raises:
            UnknownSession: there is none, or it timed out.
        """
        session = self._sessions.get(id)
        if session is not None and self._is_idle(session):
            self._drop(session)
            session = None
        if session is None:
            raise UnknownSession(
                f"Session {id[:40]} never existed, was deleted, or timed out after "
                f"{self.timeout:g} idle seconds; open a new one."
            )
        session.used = self._clock()
        return session

    def free(self, id: str) -> None:
        """Ends a session.

        Raises:
            UnknownSession: there is none.
            Busy: a request of it is in progress.
        """
        session = self.find(id)
        if session.busy:
            raise Busy(f"Session {id} has a request in progress; wait for its answer.")
        self._drop(session)

    def finish(self, session: Session) -> None:
        """A request of the session is answered; its idle time begins."""
        session.busy, session.used = False, self._clock()

    def drop_idle(self) -> None:
        """Drops every session that timed out."""
        for session in [s for s in self._sessions.values() if self._is_idle(s)]:
            self._drop(session)

    def _is_idle(self, session):
        return not session.busy and self._clock() - session.used > self.timeout

    def _drop(self, session):
        del self._sessions[session.id]
        self._free.append(session.slot)
