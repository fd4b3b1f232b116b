"""Whom the emulator's sentences name: the organization and the project of the key that asked."""

from pathlib import Path

import attrs
import pytest
from support.asking import CHAT, MakeRaw, chat_file, check_error

from openai_batches.emulator import PROFILES, ApiKey, BatchServer, Fault, SteppedClock

WANTED = {"endpoint": CHAT, "completion_window": "24h"}


KEYS = (ApiKey("sk-own", organization="org-own", project="proj_own"), "sk-any")


@pytest.mark.parametrize(("key", "organization"), [("sk-own", "org-own"), ("sk-any", "org-emulator")])
async def test_batch_errors_name_the_organization(make_raw: MakeRaw, key: str, organization: str) -> None:
    """The organization in the errors of a batch is the one of the key that made it."""
    options = {"enqueued_token_limit": 1, "enqueued_request_limit": 0, "api_keys": KEYS}
    async with BatchServer(clock=SteppedClock(), **options) as server:
        raw = make_raw(server, key)
        lost = await raw.create("file-nowhere")
        limited = await raw.create((await raw.upload(chat_file(1)))["id"])
        await server.advance(minutes=1)
        errors = [error for each in (lost, limited) for error in (await raw.batch(each["id"]))["errors"]["data"]]
        assert len(errors) == 3
        assert all(f"organization {organization}" in error["message"] for error in errors)


@pytest.mark.parametrize(("kind", "code"), [("token_limit_exceeded", 1), ("file_not_found_in_validation", 0)])
async def test_faults_name_the_organization(make_raw: MakeRaw, kind: str, code: int) -> None:
    """Faults say it as the service does."""
    async with BatchServer(clock=SteppedClock(), api_keys=KEYS, faults=Fault(kind)) as server:
        raw = make_raw(server, "sk-own")
        batch = await raw.create((await raw.upload(chat_file(1)))["id"])
        await server.advance(minutes=1)
        error = (await raw.batch(batch["id"]))["errors"]["data"][0]
        assert ("organization org-own" in error["message"], error["param"] is None) == (True, bool(code))


@pytest.mark.parametrize(("key", "project"), [("sk-own", "proj_own"), ("sk-any", "proj_emulator")])
async def test_refusals_name_the_project(make_raw: MakeRaw, key: str, project: str) -> None:
    """A refusal of a batch names the project of the key."""
    async with BatchServer(clock=SteppedClock(), api_keys=KEYS, unknown_input_file="reject") as server:
        _, body, _ = await make_raw(server, key)("POST", "/batches", json={"input_file_id": "file-nowhere", **WANTED})
        assert f"or project {project} does" in check_error(body)["message"]


async def test_a_fast_refusal_names_the_organization(make_raw: MakeRaw) -> None:
    """So does the refusal of a service that looks at the limit at once."""
    profile = attrs.evolve(PROFILES["openai"], fails_fast=True)
    async with BatchServer(clock=SteppedClock(), api_keys=KEYS, profile=profile, enqueued_token_limit=1) as server:
        raw = make_raw(server, "sk-own")
        file = await raw.upload(chat_file(1))
        _, body, _ = await raw("POST", "/batches", json={"input_file_id": file["id"], **WANTED})
        assert "organization org-own" in check_error(body)["message"]


async def test_the_organization_outlives_the_server(make_raw: MakeRaw, tmp_path: Path) -> None:
    """A batch that is validated by the next run names the organization of its key too."""
    async with BatchServer(clock=SteppedClock(), api_keys=KEYS, data=tmp_path) as server:
        batch = await make_raw(server, "sk-own").create("file-nowhere")
    async with BatchServer(clock=SteppedClock(), api_keys=KEYS, data=tmp_path) as server:
        await server.advance(minutes=1)
        error = (await make_raw(server, "sk-own").batch(batch["id"]))["errors"]["data"][0]
        assert "organization org-own" in error["message"]
