"""The OpenAPI document, made from the table of routes and the types of questions and answers."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ngu_points import __version__
from ngu_points.web import questions, reports
from ngu_points.web.problems import ProblemDetails
from ngu_points.web.routes import ROUTES, Route

TEMPLATE = "#/components/schemas/{name}"
ABOUT = """Points of the holders and stakers of an on-chain collection. Read-only.

Every answer says the block it is valid to (`valid`), and whether that is final. Integers that can
outgrow 53 bits are strings. Every JSON answer has an ETag. Errors are application/problem+json."""
ERRORS = {
    "304": "What If-None-Match names is still so.",
    "400": "A parameter is wrong; `parameter` says which.",
    "404": "There is no such thing.",
    "414": "The address is too long.",
    "429": "Too many requests: wait as long as Retry-After says.",
    "501": "On AWS: the file is too long for one answer; `hint` says what writes it.",
    "503": "Nothing is covered yet, or too much is asked at once; Retry-After says when to ask.",
}


def document() -> dict[str, Any]:
    """The document as plain values."""
    answered = [route.answer for route in ROUTES]
    types = [*answered, reports.Live, ProblemDetails]
    _, schemas = msgspec.json.schema_components(types, ref_template=TEMPLATE)
    paths = {route.path: {"get": _operation(route)} for route in ROUTES}
    paths |= _others()
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ngu-points",
            "version": __version__,
            "description": ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": schemas},
    }


def _operation(route: Route) -> dict[str, Any]:
    answer = {"$ref": TEMPLATE.format(name=route.answer.__name__)}
    body = {"application/json": {"schema": answer}}
    responses: dict[str, Any] = {"200": _response("The answer.", body, tagged=True)}
    if route.answer is reports.Ready:
        responses["503"] = _response("Not ready.", body)
    return {
        "operationId": route.handle.__name__,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": parameters(route.question, route.path),
        "responses": responses | _problems("503" not in responses),
    }


def _response(text: str, content: Any = None, *, tagged: bool = False) -> dict[str, Any]:
    response: dict[str, Any] = {"description": text}
    if content is not None:
        response["content"] = content
    if tagged:
        response["headers"] = {"ETag": {"schema": {"type": "string"}}}
    return response


def _problems(unavailable: bool = True, *, file: bool = False) -> dict[str, Any]:
    schema = {"$ref": TEMPLATE.format(name="ProblemDetails")}
    problem = {"application/problem+json": {"schema": schema}}
    return {
        status: _response(text, None if status == "304" else problem)
        for status, text in ERRORS.items()
        if {"503": unavailable, "501": file}.get(status, True)
    }


def parameters(question: type[questions.Question], path: str) -> list[dict[str, Any]]:
    """The parameters of a question; those that the path names are in it."""
    in_path = re.findall(r"{(\w+)}", path)
    _, schemas = msgspec.json.schema_components([question], ref_template=TEMPLATE)
    fields = schemas[question.__name__].get("properties", {})
    return [_parameter(name, dict(schema), name in in_path) for name, schema in fields.items()]


def _parameter(name: str, schema: dict[str, Any], in_path: bool) -> dict[str, Any]:
    if "anyOf" in schema:  # a parameter that is left out is not null, it is not there
        chosen = [one for one in schema["anyOf"] if one != {"type": "null"}]
        rest = {k: v for k, v in schema.items() if k not in ("anyOf", "default")}
        schema = {**chosen[0], **rest}
    parameter: dict[str, Any] = {"name": name, "in": "path" if in_path else "query"}
    if in_path:
        parameter["required"] = True
    description = schema.pop("description", None)
    if description:
        parameter["description"] = description
    if schema.get("default", 0) is None:
        schema.pop("default")
    parameter["schema"] = schema
    return parameter


def _others() -> dict[str, Any]:
    """Paths whose answers are no JSON objects of a type."""
    live = {"text/event-stream": {"schema": {"type": "string"}}}
    text = {"text/plain": {"schema": {"type": "string"}}}
    binary = {"type": "string", "format": "binary"}
    rows = {"type": "array", "items": {"type": "object"}}
    files = {"text/csv": {"schema": binary}, "application/json": {"schema": rows},
             "application/vnd.apache.parquet": {"schema": binary}}  # fmt: skip
    listener = {"name": "Last-Event-ID", "in": "header", "schema": {"type": "string"}}
    export = parameters(questions.ExportQuestion, "/api/exports/{table}")
    return {
        "/api/live": {"get": {
            "operationId": "live", "tags": ["pipeline"],
            "summary": "Server-sent events: `position` (schema Live) and `heartbeat`",
            "parameters": [listener],
            "responses": {"200": _response("The stream.", live)} | _problems()}},
        "/api/exports/{table}": {"get": {
            "operationId": "export", "tags": ["exports"],
            "summary": "Tokens, points, events or feasts as a file",
            "parameters": export,
            "responses": {"200": _response("The file.", files)} | _problems(file=True)}},
        "/metrics": {"get": {
            "operationId": "metrics", "tags": ["operation"], "summary": "For Prometheus",
            "responses": {"200": _response("Metrics as text.", text)}}},
        "/openapi.json": {"get": {
            "operationId": "openapi", "tags": ["operation"], "summary": "This document",
            "responses": {"200": _response("The document.", {
                "application/json": {"schema": {"type": "object"}}}, tagged=True)}}},
    }  # fmt: skip
