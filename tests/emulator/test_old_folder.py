"""A data folder that an earlier version wrote is taken up, and everything in it goes on."""

import shutil
from pathlib import Path

from support.asking import MakeRaw, chat_file, records

from openai_batches.emulator import BatchServer, SteppedClock, Timings, WebhookEndpoint

SAMPLE = Path(__file__).parent / "samples" / "data_folder"
COMPLETED = "batch_684ee1804ef88190d0eda82f8f6d0558"
RUNNING = "batch_684eef90254b819088daf4016b4013ef"
WAITING = "batch_684eefac1f728190d953ee261d87cec3"
DELETED_FILE = "file-X4yMOlluN45gH4JjzGrISl"
UPLOAD, PART = "upload_684eefacf3fe8190b0c4312d20203626", "part_684eefaca7ab8190bd628881ad1b72db"


async def test_a_folder_of_an_earlier_version_goes_on(tmp_path: Path, make_raw: MakeRaw) -> None:
    """Batches that are over, half done or new, files, uploads, cursors, unsent webhooks and the clock are all there."""
    data = shutil.copytree(SAMPLE, tmp_path / "data")
    hook = WebhookEndpoint("http://127.0.0.1:9/hook", secret="whsec_c2FtcGxl")
    async with BatchServer(clock=SteppedClock(), data=data, timings=Timings(line_s=10), webhooks=hook) as server:
        raw = make_raw(server)
        assert server.clock.now() == 1_750_003_628
        completed = await raw.batch(COMPLETED)
        assert (completed["status"], completed["metadata"]) == ("completed", {"kept": "yes"})
        assert completed["request_counts"] == {"total": 2, "completed": 2, "failed": 0}
        assert [line["custom_id"] for line in records(await raw.content(completed["output_file_id"]))] == ["r0", "r1"]
        assert await raw.content(completed["input_file_id"]) == chat_file(2)

        running = await raw.batch(RUNNING)
        assert (running["status"], running["request_counts"]["completed"]) == ("in_progress", 2)
        assert (await raw.batch(WAITING))["status"] == "validating"
        await server.advance(minutes=10)
        for batch_id, count in ((RUNNING, 6), (WAITING, 1)):
            batch = await raw.batch(batch_id)
            assert (batch["status"], batch["request_counts"]["completed"]) == ("completed", count)
            assert len(records(await raw.content(batch["output_file_id"]))) == count

        assert (await raw("GET", f"/files?after={DELETED_FILE}"))[0] == 200
        status, upload, _ = await raw("POST", f"/uploads/{UPLOAD}/complete", json={"part_ids": [PART]})
        assert (status, upload["status"], upload["file"]["bytes"]) == (200, "completed", 4)
        await server.advance(hours=4)
        assert COMPLETED in {delivery.message.batch_id for delivery in server.deliveries}
        assert max(delivery.attempt for delivery in server.deliveries) > 10


async def test_an_earlier_folder_belongs_to_its_key(tmp_path: Path, make_raw: MakeRaw) -> None:
    """Another key sees nothing of it."""
    data = shutil.copytree(SAMPLE, tmp_path / "data")
    async with BatchServer(clock=SteppedClock(), data=data) as server:
        assert (await make_raw(server, "sk-bob")("GET", "/batches"))[1]["data"] == []
