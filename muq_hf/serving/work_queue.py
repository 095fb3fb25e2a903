"""Work in threads, so many jobs at once and so many waiting; more are refused at once."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fastapi import HTTPException


class WorkQueue:
    """`workers` jobs run, `waiting` more wait. A job whose client has gone still runs to its end and keeps its place."""

    def __init__(self, name: str, workers: int, waiting: int):
        self.name, self.places = name, workers + waiting
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
        self._taken = 0
        self._lock = threading.Lock()

    async def run(self, job: Callable, *arguments, **options):
        """→ what the job returns. Raises HTTPException 429 when all places are taken."""
        with self._lock:
            if self._taken >= self.places:
                message = f"The server is busy: {self.places} requests are running or waiting. Try again in a moment."
                raise HTTPException(429, message, headers={"Retry-After": "1"})
            self._taken += 1
        future = self._pool.submit(job, *arguments, **options)
        future.add_done_callback(self._free)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _free(self, _future) -> None:
        with self._lock:
            self._taken -= 1
