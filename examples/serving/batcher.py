"""Steps all waiting sessions together, in one thread beside the event loop.

A batch takes one step of every request that waits. A request of many steps waits again
after each one, so it does not delay the others. While a batch runs, the next one
collects. So the busier the server is, the larger its batches are.
"""

import asyncio
import collections
import dataclasses
import queue
import threading

import numpy as np
from refusals import Busy, QueueFull, Stopped
from sessions import Session, Sessions
from states import States


@dataclasses.dataclass(eq=False)
class Job:
    """A request of one or more steps."""

    session: Session
    xs: np.ndarray
    ys: np.ndarray
    future: asyncio.Future
    done: int = 0


class Batcher:
    """Runs the steps of all sessions.

    Args:
        states: the states of the sessions.
        sessions: told when a request is answered.
        limit: more unanswered requests are refused.
    """

    def __init__(self, states: States, sessions: Sessions, limit: int):
        self._states, self._sessions, self._limit = states, sessions, limit
        self._arrived: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="steps", daemon=True)
        self._unanswered = 0
        self.error: Exception | None = None

    def start(self) -> None:
        """Starts the thread; call it in the event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, after the batch that runs."""
        self._arrived.put(None)
        self._thread.join()

    def submit(self, session: Session, xs: np.ndarray) -> asyncio.Future:
        """Steps a session by ``xs [T, D]``; call it in the event loop.

        Returns:
            A future of the number of steps so far and the outputs ``[T, O]``.

        Raises:
            Busy: a request of the session is in progress.
            QueueFull: too many requests wait.
            Stopped: a step failed earlier.
        """
        if self.error is not None:
            raise Stopped("A step failed and all states are lost; restart the server.")
        if session.busy:
            raise Busy(
                f"Session {session.id} has a request in progress; wait for its answer."
            )
        if self._unanswered >= self._limit:
            raise QueueFull(f"{self._limit} requests wait already; try again later.")
        self._unanswered += 1
        session.busy = True
        ys = np.empty((len(xs), self._states.model.out_size), np.float32)
        job = Job(session, xs, ys, self._loop.create_future())
        self._arrived.put(job)
        return job.future

    def _work(self):
        waiting = collections.deque()
        while self._collect(waiting):
            rows = min(len(waiting), self._states.largest)
            batch = [waiting.popleft() for _ in range(rows)]
            try:
                self._step(batch)
            except Exception as error:  # whatever it is, the donated states are gone
                self.error = error
                batch += waiting
                waiting.clear()
            is_finished = lambda job: bool(self.error) or job.done == len(job.xs)
            finished = [job for job in batch if is_finished(job)]
            waiting.extend(job for job in batch if not is_finished(job))
            if finished:
                self._loop.call_soon_threadsafe(self._answer, finished)

    def _collect(self, waiting):
        """Moves what arrived to ``waiting``, and blocks if nothing is there; False at
        the end."""
        while not waiting or not self._arrived.empty():
            job = self._arrived.get()
            if job is None:
                return False
            waiting.append(job)
        return True

    def _step(self, batch):
        if self.error is not None:
            raise self.error
        slots = [job.session.slot for job in batch]
        fresh = [job.session.steps == 0 for job in batch]
        ys = self._states.step(slots, fresh, np.stack([j.xs[j.done] for j in batch]))
        for job, y in zip(batch, ys, strict=True):
            job.ys[job.done] = y
            job.done += 1
            job.session.steps += 1

    def _answer(self, jobs):
        for job in jobs:
            self._unanswered -= 1
            self._sessions.finish(job.session)
            if job.future.done():  # cancelled: the server is stopping
                continue
            if self.error is None:
                job.future.set_result((job.session.steps, job.ys))
            else:
                job.future.set_exception(Stopped(f"A step failed: {self.error}"))
