"""The API over real HTTP: the emulator's API Gateway calls the function in a process of its own."""

from __future__ import annotations

import gzip
import io
import json
import sys
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from mirror.stage import Stage
from ngu_points.web.app import STATIC

pytest.importorskip("ngu_points.mirror.function", reason="the extra aws is missing")

ROOT = Path(__file__).parents[2]
FONT = "vendor/fonts/inter-latin-wght-normal.woff2"
Get = Callable[..., tuple[int, dict[str, str], bytes]]


def packed() -> bytes:
    """A package that finds code and dependencies where this process has them."""
    places = [str(ROOT / "src"), *(p for p in sys.path if p.endswith("site-packages"))]
    code = f"import sys\nsys.path[:0] = {places!r}\n"
    code += "from ngu_points.mirror.function import handler\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as written:
        written.writestr("index.py", code)
    return archive.getvalue()


@pytest.fixture
def get(synced: Stage, emulator_url: str, tmp_path: Path) -> Get:
    """A GET of the API's address, which stands in the header of the host there."""
    known = ("SERVICE", "NODE_ENV", "ARCHIVE_BUCKET", "AWS_ENDPOINT_URL")
    variables = {name: synced.env[name] for name in known} | {"COPY": str(tmp_path / "copy.db")}
    function = synced.client("lambda").create_function(
        FunctionName=f"{synced.env['SERVICE']}-api-staging", Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/api", Handler="index.handler", Timeout=60,
        Code={"ZipFile": packed()}, Environment={"Variables": variables},
    )  # fmt: skip
    gateway = synced.client("apigatewayv2")
    api = gateway.create_api(Name="api", ProtocolType="HTTP")["ApiId"]
    integration = gateway.create_integration(
        ApiId=api, IntegrationType="AWS_PROXY", PayloadFormatVersion="2.0",
        IntegrationUri=function["FunctionArn"],
    )["IntegrationId"]  # fmt: skip
    gateway.create_route(ApiId=api, RouteKey="$default", Target=f"integrations/{integration}")
    gateway.create_stage(ApiId=api, StageName="$default", AutoDeploy=True)

    def got(
        path: str, known: str = "", method: str = "GET", **more: str
    ) -> tuple[int, dict[str, str], bytes]:
        headers = {"host": f"{api}.execute-api.localhost", "if-none-match": known, **more}
        asked = urllib.request.Request(f"{emulator_url}/{path}", headers=headers, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60) as answer:
                return answer.status, dict(answer.headers), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, dict(error.headers), error.read()

    return got


def test_it_answers_over_http(get: Get, synced: Stage) -> None:
    """Numbers of the tables, 304 with the ETag, problems, files to the byte, nothing but GET."""
    status, headers, body = get("api/leaderboard?limit=1")
    assert status == 200, body
    first = json.loads(body)
    assert first["valid"]["block"] == synced.store.position().block
    assert get("api/leaderboard?limit=1", headers["etag"])[::2] == (304, b"")
    wallet = first["wallets"][0]
    shown = json.loads(get(f"api/wallets/{wallet['wallet']}")[2])
    assert (shown["points"], shown["rank"]) == (wallet["points"], 1)
    assert json.loads(get("api/tokens/5")[2])["exists"] is True
    status, headers, body = get("api/leaderboard?limit=0")
    assert (status, headers["content-type"]) == (400, "application/problem+json")
    assert get(FONT)[2] == (STATIC / FONT).read_bytes()
    assert b"<title>" in get("")[2]
    assert get("api/status", method="POST")[0] == 405
    status, headers, body = get("api/exports/tokens?ranges=true")
    assert status == 200
    assert body.startswith(b"start,end,owner")
    assert "tokens-" in headers["content-disposition"]
    status, headers, packed = get("api/exports/tokens?ranges=true", **{"accept-encoding": "gzip"})
    assert (status, headers["content-encoding"]) == (200, "gzip")
    assert int(headers["content-length"]) == len(packed)
    assert gzip.decompress(packed) == body
