"""The published description of the API, taken at its word: generated requests, and what answers them."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from openai_batches.emulator import BatchServer

PUBLISHED = json.loads(Path(__file__).with_name("published_api.json").read_text("utf-8"))
KEY = {"Authorization": "Bearer sk-test"}
API = schemathesis.openapi.from_dict(PUBLISHED)
OPERATIONS = [result.ok() for result in API.get_all_operations()]
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
# A listing does not look at query parameters that it does not know; the others refuse what they do not know.
LENIENT = ("GET /v1/batches", "GET /v1/files")
BOUNDED = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def root(server: BatchServer) -> str:
    return server.base_url.removesuffix("/v1")


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
async def test_every_operation_fits_its_description(server: BatchServer, operation: Any, mode: Any) -> None:
    """Data that fits and data that does not get answers that the description knows, and never a 5xx."""
    checks = CHECKS if operation.label in LENIENT else [*CHECKS, negative_data_rejection]

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        case.call_and_validate(base_url=root(server), headers=KEY, checks=checks)

    await asyncio.to_thread(ask)


async def test_operations_in_a_row_fit_their_description(server: BatchServer) -> None:
    """Ids of answers lead into the following requests: files into batches, uploads into parts, all into their ends."""
    base_url = root(server)

    class Walk(API.as_state_machine()):
        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"base_url": base_url, "headers": KEY}

        def validate_response(self, response: Any, case: Any, **_: Any) -> None:
            case.validate_response(response, checks=CHECKS)

    walk = settings(BOUNDED, max_examples=8, stateful_step_count=8)
    await asyncio.to_thread(Walk.run, settings=walk)
