"""docs/api.md, made from the OpenAPI document.

`.venv/bin/python tests/docs/api_page.py` writes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ngu_points.web import openapi

PAGE = Path(__file__).resolve().parents[2] / "docs/api.md"
HEAD = """\
# The API

This page is made from the OpenAPI document, which the server has at `/openapi.json`: after a
change, run `.venv/bin/python tests/docs/api_page.py`.

`ngu run` and `ngu demo` serve it at `http://127.0.0.1:8080` (`--port`, `web.port`), beside the
dashboard. It only reads: GET and HEAD without a body, no keys, no cookies.

- **What an answer is valid to** stands in `valid`: block, hash, time, and whether that is final.
- **Numbers** that can outgrow 53 bits are strings: token ids, numbers of tokens, facts, amounts.
  Points are text with six decimals, rounded down; `exact` beside them is the rational.
- **The past**: `at` is a block (`12345`), a unix time (`@1700000000`) or a time
  (`2026-01-31T12:00:00Z`). Points depend on time, so a block can be asked for if its time is
  recorded: it has an event, or a range that was read ended there. Else `hint` names the nearest
  block before it that can be asked for, and by time any moment can; `ngu … --at` asks the node.
- **Pages**: `cursor` takes what `next` of the page before says; null is the end. Pages of the
  leaderboard are all of the first page's block; events are paged from the latest down, so that new
  ones lie before the first page.
- **ETag**: every JSON answer has one, beginning with its block. With If-None-Match it is 304 until
  something is new.
- **Exports** are what `ngu export` writes ([exports.md](exports.md)), sent while they are made; on
  AWS they are whole answers of at most 4 MB ([deploy.md](deploy.md#the-api)).
- **Errors** are `application/problem+json`: `detail` and `hint` for people, `code` and `parameter`
  for programs.
- **Limits**: a client gets `web.requests_per_second` (50; four seconds' worth at once), then 429
  with Retry-After. Pages of other origins are let in by `web.cors` only.

## In five minutes

Somebody's points on a page, always up to date (on another origin's page, `web.cors` has to name it,
and the addresses need the server's in front):

```html
<p id="points">…</p>
<script type="module">
  const wallet = "0x90f79bf6eb2c4f870365e785982e1f101e93b906";
  const show = async () => {
    const { points, rank, valid } = await (await fetch(`/api/wallets/${wallet}`)).json();
    const text = `${points} points, rank ${rank}, at block ${valid.block}`;
    document.querySelector("#points").textContent = text;
  };
  new EventSource("/api/live").addEventListener("position", show);
</script>
```

## Live events

`GET /api/live` is a stream of server-sent events. `position` comes at once and then for each new
position, finality or head, at most five times a second; its data is `Live` below. `heartbeat` comes
every 5 seconds where nothing else does. The browser's EventSource comes back by itself with
Last-Event-ID and is told what it missed of the last 100 messages.

```js
const events = new EventSource("/api/live");
events.addEventListener("position", (event) => console.log(JSON.parse(event.data).valid.block));
```

"""


def page() -> str:
    """The whole page."""
    document = openapi.document()
    parts = [HEAD.rstrip(), "## Questions"]
    for path, methods in document["paths"].items():
        parts.append(_operation(path, methods["get"]))
    parts.append("## Answers")
    for name, schema in sorted(document["components"]["schemas"].items()):
        parts.append(_schema(name, schema))
    return "\n\n".join(parts) + "\n"


def _operation(path: str, operation: dict[str, Any]) -> str:
    content = operation["responses"]["200"].get("content", {})
    kinds = [_type(body["schema"]) if "$ref" in body["schema"] else f"`{kind}`"
             for kind, body in content.items()]  # fmt: skip
    text = f"### GET {path}\n\n{operation['summary']}. Answer: {', '.join(kinds)}."
    rows = [
        f"| `{p['name']}` | {p['in']} | {_limits(p['schema'])} | {p.get('description', '')} |"
        for p in operation.get("parameters", [])
    ]
    if rows:
        text += "\n\n| parameter | in | values | |\n| --- | --- | --- | --- |\n" + "\n".join(rows)
    return text


def _limits(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        text = ", ".join(f"`{value}`" for value in schema["enum"])
    elif "minimum" in schema:
        text = f"{schema['minimum']} to {schema['maximum']}"
    elif "pattern" in schema:
        text = f"`{schema['pattern']}`".replace("|", "\\|")
    else:
        text = str(schema["type"])
    return text + (f"; {schema['default']}" if "default" in schema else "")


def _schema(name: str, schema: dict[str, Any]) -> str:
    about = schema.get("description", "").replace("\n", " ")
    rows = [
        f"| `{field}` | {_type(inner)} | {_about(inner)} |"
        for field, inner in schema.get("properties", {}).items()
    ]
    table = "| field | type | |\n| --- | --- | --- |\n" + "\n".join(rows)
    return f"### {name}\n\n{about}\n\n{table}"


def _about(schema: dict[str, Any]) -> str:
    return str(schema.get("description", ""))


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}"
    if "additionalProperties" in schema and isinstance(schema["additionalProperties"], dict):
        return f"{_type(schema['additionalProperties'])} by name"
    return str(schema.get("type", "anything"))


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
