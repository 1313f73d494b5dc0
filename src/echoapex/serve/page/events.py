"""News for the browsers that watch: a row of the list, or a run of learning, as server-sent events."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable

from pydantic import BaseModel

_MOST_WAITING = 500
_KEEP_ALIVE_S = 15.0
_END = ""


class Events:
    """Hands news from any thread to the streams of the browsers."""

    def __init__(self) -> None:
        self._streams: set[tuple[asyncio.AbstractEventLoop, asyncio.Queue[str]]] = set()
        self._lock = threading.Lock()
        self._closed = False

    def send(self, kind: str, content: BaseModel) -> None:
        """Tell every stream; one that does not read loses news, and its browser loads the list again."""
        self._hand_out(f"event: {kind}\ndata: {content.model_dump_json()}\n\n")

    def close(self) -> None:
        """End all streams, so that the server can stop."""
        self._closed = True
        self._hand_out(_END)

    def _hand_out(self, text: str) -> None:
        with self._lock:
            streams = list(self._streams)
        for loop, queue in streams:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_put, queue, text)

    async def stream(self, goes_on: Callable[[], bool]) -> AsyncIterator[str]:
        """The news of one browser, until it leaves, its session ends or the server stops."""
        queue: asyncio.Queue[str] = asyncio.Queue(_MOST_WAITING)
        place = (asyncio.get_running_loop(), queue)
        with self._lock:
            self._streams.add(place)
        try:
            yield ": connected\n\n"
            while not self._closed:
                try:
                    text = await asyncio.wait_for(queue.get(), _KEEP_ALIVE_S)
                except TimeoutError:
                    if not await asyncio.to_thread(goes_on):
                        return
                    text = ": still here\n\n"
                if text == _END:
                    return
                yield text
        finally:
            with self._lock:
                self._streams.discard(place)


def _put(queue: asyncio.Queue[str], text: str) -> None:
    if queue.full():
        queue.get_nowait()
    queue.put_nowait(text)
