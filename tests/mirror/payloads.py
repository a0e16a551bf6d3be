"""What API Gateway or a function URL hands a function of a request: payload format 2.0."""

from __future__ import annotations

from typing import Any


def request(
    path: str, query: str = "", headers: dict[str, str] | None = None, method: str = "GET"
) -> dict[str, Any]:
    """A request of an HTTP API with one route, `$default`."""
    host = "abcdefghij.execute-api.us-east-1.amazonaws.com"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": path,
        "rawQueryString": query,
        "headers": {
            "accept": "*/*", "content-length": "0", "host": host, "user-agent": "test",
            "x-amzn-trace-id": "Root=1-692c0000-0123456789abcdef01234567",
            "x-forwarded-for": "192.0.2.1", "x-forwarded-port": "443",
            "x-forwarded-proto": "https", **(headers or {}),
        },
        "requestContext": {
            "accountId": "123456789012", "apiId": "abcdefghij", "domainName": host,
            "domainPrefix": "abcdefghij",
            "http": {"method": method, "path": path, "protocol": "HTTP/1.1",
                     "sourceIp": "192.0.2.1", "userAgent": "test"},
            "requestId": "r", "routeKey": "$default", "stage": "$default",
            "time": "01/Jan/2026:00:00:00 +0000", "timeEpoch": 1_767_225_600_000,
        },
        "isBase64Encoded": False,
    }  # fmt: skip


def url_request(
    path: str, query: str = "", headers: dict[str, str] | None = None, method: str = "GET"
) -> dict[str, Any]:
    """The same of a function URL that anybody may call."""
    payload = request(path, query, headers, method)
    context = payload["requestContext"]
    host = "abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws"
    payload["headers"]["host"] = host
    payload["requestContext"] = context | {
        "accountId": "anonymous", "apiId": host.partition(".")[0], "domainName": host,
        "domainPrefix": host.partition(".")[0], "authentication": None,
    }  # fmt: skip
    return payload
