"""Tests of code that sends batches: without a key, without waiting, and with what rarely happens.

They are unittest's here, so that they run where nothing else is installed; docs/emulator.md has the like for pytest.

    python examples/emulator_in_tests.py
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import threading
import time
import unittest
from typing import TYPE_CHECKING
from unittest import mock

from openai_batches import BatchSession, requests_from, write_shards
from openai_batches.emulator import BackgroundServer, Fault, ScriptExecutor, SteppedClock, Timings

if TYPE_CHECKING:
    from collections.abc import Iterable

SCRIPT = ScriptExecutor({"red": "rot", "green": "grün", "blue": "blau"})


async def translate(words: Iterable[str]) -> dict[str, str | None]:
    """Return each word's translation, or None: the code under test, which knows nothing of an emulator."""
    requests = requests_from(((word, word) for word in words), model="gpt-4o-mini", system="Translate into German.")
    translations: dict[str, str | None] = {}
    with tempfile.TemporaryDirectory() as folder:
        async with BatchSession() as session:
            for shard in await write_shards(requests, folder):
                file = await session.files.create(shard.path)
                batch = await session.batches.create(input_file_id=file.id, endpoint=shard.endpoint)
                batch = await session.batches.wait(batch, poll=0.01)
                async for result in session.batches.results(batch, inputs=shard.path):
                    translations[str(result.custom_id)] = result.output_text
    return translations


class TestTranslate(unittest.TestCase):
    """The code under test, and an emulator for each of its tests."""

    def serve(self, **options: object) -> BackgroundServer:
        """Return an emulator, with an environment that leads there, until the end of the test."""
        server = self.enterContext(BackgroundServer(executor=SCRIPT, **options))
        variables = {"OPENAI_BASE_URL": server.base_url, "OPENAI_API_KEY": server.api_key}
        self.enterContext(mock.patch.dict(os.environ, variables))
        return server

    def test_every_word_is_translated(self) -> None:
        """An hour passes in a second."""
        self.serve(speed=3600)
        self.assertEqual(asyncio.run(translate(["red", "green"])), {"red": "rot", "green": "grün"})

    def test_a_lost_answer_makes_no_second_batch(self) -> None:
        """The batch is made, the connection breaks, and the client finds what it made."""
        server = self.serve(speed=3600, faults=Fault.lost_answer(method="POST", path="/v1/batches$"))
        self.assertEqual(asyncio.run(translate(["blue"])), {"blue": "blau"})
        self.assertEqual(len(server.store.batches.items), 1)

    def test_words_that_expire_have_no_translation(self) -> None:
        """A day passes at once, as soon as there is a batch."""
        server = self.serve(clock=SteppedClock(), timings=Timings(line_s=20 * 3600))

        def pass_a_day() -> None:
            while not server.call(lambda: list(server.store.batches.items)):
                time.sleep(0.005)
            server.advance(hours=24)

        clockwork = threading.Thread(target=pass_a_day)
        clockwork.start()
        self.assertEqual(asyncio.run(translate(["red", "green"])), {"red": "rot", "green": None})
        clockwork.join()


if __name__ == "__main__":
    unittest.main()
