"""News reach every stream, a slow browser loses the oldest, and the streams end with the server."""

from __future__ import annotations

import asyncio
import threading

from echoapex.serve.page.events import Events
from echoapex.serve.page.schemas import HealthAnswer


def test_news_from_a_thread_reach_each_stream_until_the_server_ends() -> None:
    events = Events()

    got = threading.Semaphore(0)

    def tell() -> None:
        got.acquire()
        got.acquire()  # both are connected
        events.send("study", HealthAnswer())
        got.acquire()
        got.acquire()
        events.close()

    async def read() -> list[str]:
        found = []
        async for text in events.stream(lambda: True):
            found.append(text)
            got.release()
        return found

    async def both() -> list[list[str]]:
        return await asyncio.gather(read(), read())

    threading.Thread(target=tell, daemon=True).start()
    for found in asyncio.run(both()):
        assert found == [": connected\n\n", 'event: study\ndata: {"status":"ok"}\n\n']
    assert not events._streams


def test_a_browser_that_does_not_read_costs_no_memory() -> None:
    events = Events()

    async def idle() -> int:
        stream = events.stream(lambda: True)
        await anext(stream)
        for _ in range(2_000):
            events.send("study", HealthAnswer())
        await asyncio.sleep(0)
        ((_, queue),) = events._streams
        size = queue.qsize()
        await stream.aclose()
        return size

    assert asyncio.run(idle()) <= 500
    assert not events._streams
