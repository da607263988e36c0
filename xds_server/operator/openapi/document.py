"""The document, put together from the table of operations. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

from xds_server.operator.access import needed
from xds_server.operator.openapi.forms import Json, ref, text
from xds_server.operator.openapi.operations import JSON, Operation, operations
from xds_server.operator.openapi.schemas import schemas

_PROBLEM = "application/problem+json"
_ABOUT = """What an operator, a script or an agent asks an xds-server, and the orders they give it.

Errors are problem details (RFC 9457). Answers may get more fields in later versions. Every operation names the role it
needs where tokens or client certificates are configured; without them the address is a loopback one and open to all
on its machine. A POST must have the content type application/json, and if it has an Origin, that of this address.
"""


def document(version: str) -> Json:
    """Return the whole of it."""
    paths: dict[str, Json] = {}
    for (method, path), operation in operations().items():
        paths.setdefault(path, {})[method.lower()] = _operation(method, path, operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "xds-server", "version": version, "description": _ABOUT, "license": {"name": "Apache-2.0"}},
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "responses": dict(_problems()),
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def _problems() -> Iterator[tuple[str, Json]]:
    content = {_PROBLEM: {"schema": ref("Problem")}}
    errors = {error for operation in operations().values() for error in operation.errors}
    for status in sorted(errors | {401, 403, 421}):
        yield f"Problem{status}", {"description": HTTPStatus(status).phrase, "content": content}


def _operation(method: str, path: str, operation: Operation) -> Json:
    role = needed(method, path)
    errors = sorted(
        {*operation.errors, 421} | ({401, 403} if role is not None else set()) | ({403} if operation.body else set())
    )
    answers = {str(status): _answer(status, name, operation.kind) for status, name in operation.answers.items()}
    made: Json = {
        "operationId": "_".join(re.findall(r"\w+", f"{method.lower()} {path.removeprefix('/api/v1')}")),
        "summary": operation.summary,
        "description": f"Needs the role `{role}`." if role is not None else "Open to all.",
        "parameters": [*_path_parameters(path), *_query(operation)],
        "responses": answers | {str(e): {"$ref": f"#/components/responses/Problem{e}"} for e in errors},
        "security": [{"token": []}, {"certificate": []}] if role is not None else [],
    }
    if operation.body:
        made["requestBody"] = {"required": True, "content": {JSON: {"schema": ref(operation.body)}}}
    return made


def _answer(status: int, name: str, kind: str) -> Json:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {kind: {"schema": ref(name) if name else text()}},
    }


def _path_parameters(path: str) -> Iterator[Json]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, "schema": text()}


def _query(operation: Operation) -> Iterator[Json]:
    for name, schema in operation.query.items():
        yield {"name": name, "in": "query", "required": name in operation.needed, "schema": schema}
