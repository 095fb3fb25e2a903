import asyncio
import threading

import pytest
from fastapi import HTTPException

from muq_hf.serving.work_queue import WorkQueue


def test_more_jobs_than_places_are_refused_at_once_and_places_come_back():
    async def scenario():
        queue, door = WorkQueue("test", workers=1, waiting=2), threading.Event()
        jobs = [asyncio.create_task(queue.run(door.wait)) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(HTTPException) as refused:
            await queue.run(int)
        assert refused.value.status_code == 429 and refused.value.headers["Retry-After"] == "1"
        door.set()
        await asyncio.gather(*jobs)
        with pytest.raises(ZeroDivisionError):
            await queue.run(lambda: 1 / 0)
        assert [await queue.run(int, "7") for _ in range(5)] == [7] * 5
        queue.close()

    asyncio.run(scenario())
