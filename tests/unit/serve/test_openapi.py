"""Requests that schemathesis makes up from our own OpenAPI document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from api_server import running
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from langraft.serve.api import build_api
from langraft.serve.limits import Limits
from langraft.serve.local import TransformersEngine

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def document(merged_model: Path) -> Any:
    """The document of a running server whose model has the name that the requests will use."""
    engine = TransformersEngine(merged_model, "0", context=64)
    with running(build_api(engine, Limits(request_seconds=20))) as place:
        yield schemathesis.openapi.from_url(f"{place}/openapi.json")


def statuses_of(operation: Any, mode: GenerationMode) -> set[int]:
    """The statuses of some made-up requests, every reply checked."""
    found: set[int] = set()

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def sent(case: Any) -> None:
        reply = case.call(timeout=30)
        case.validate_response(reply, checks=CHECKS)
        found.add(reply.status_code)
        if reply.status_code >= 400:
            assert set(reply.json()["error"]) == {"message", "type", "param", "code"}

    sent()
    return found


def test_no_request_breaks_the_server(document: Any) -> None:
    operations = {found.ok().path: found.ok() for found in document.get_all_operations()}
    assert len(operations) == 7
    for path, operation in operations.items():
        assert statuses_of(operation, GenerationMode.POSITIVE), path
    for path in ("/v1/completions", "/v1/chat/completions", "/v1/embeddings"):
        assert 400 in statuses_of(operations[path], GenerationMode.NEGATIVE)
