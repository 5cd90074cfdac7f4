"""Waiting on the event loop of the daemon."""

import asyncio

import pytest

from snapshotd.daemon.waiting import set_within

SECONDS = 30


def test_what_is_set_in_time_and_what_is_not():
    async def main():
        event = asyncio.Event()
        assert not await set_within(event, 0.01)
        asyncio.get_running_loop().call_later(0.01, event.set)
        assert await set_within(event, SECONDS)
        assert await set_within(event, SECONDS)

    asyncio.run(main())


@pytest.mark.parametrize("rounds", range(4))
def test_a_cancellation_beside_the_event_is_not_lost(rounds):
    """A daemon that is told to stop in the moment of a request must stop."""

    async def main():
        event = asyncio.Event()
        waiting = asyncio.create_task(set_within(event, SECONDS))
        await asyncio.sleep(0)
        event.set()
        for _ in range(rounds):
            await asyncio.sleep(0)
        stopped = waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled() if stopped else waiting.result()

    asyncio.run(main())
