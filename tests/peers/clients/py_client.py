"""The official Python SDK as a client: runs a list of operations and prints one JSON document.

    python py_client.py (--url URL | --stdio CMD ARGS...) --era legacy|modern [--token T] [--ops JSON]
                        [--caps roots,sampling,elicitation] [--timeout-ms N] [--sse]

--stdio takes the rest of the command line. `legacy` does the `initialize` handshake; `modern` sends `server/discover` for
2026-07-28 and does not fall back; --sse speaks the transport of 2024-11-05 to the URL, in the legacy era. See ../README.md for the operations and the output.
"""

import argparse
import asyncio
import json
import os
import sys
import warnings
from contextlib import AsyncExitStack

import httpx2
import mcp_types as types
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPDeprecationWarning

MODERN_VERSION = "2026-07-28"
CLIENT_INFO = types.Implementation(name="spanwire-py-client", version="1.0.0")
LIST_CHANGED = {kind: f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")}
RESOURCE_UPDATED = "notifications/resources/updated"


def dump(model) -> dict:
    """What the server set, no defaults of ours."""
    return model.model_dump(by_alias=True, mode="json", exclude_unset=True)


def describe_error(error: BaseException) -> dict:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, MCPError):
        return dump(error.error)
    return {"code": type(error).__name__, "message": str(error)}


class Peer:
    """One connected client and the notifications that it has seen."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._modern = args.era == "modern"
        self._timeout_s = args.timeout_ms / 1000
        self._notifications: list[dict] = []
        self._arrived = asyncio.Condition()
        self.client = self._build(args)

    def _build(self, args: argparse.Namespace) -> Client:
        if args.url:
            headers = {"Authorization": f"Bearer {args.token}"} if args.token else {}
        if args.url and args.sse:
            target = sse_client(args.url, headers=headers, timeout=self._timeout_s)
        elif args.url:
            http = httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(self._timeout_s, read=300))
            target = streamable_http_client(args.url, http_client=http)
        else:
            target = StdioServerParameters(command=args.stdio[0], args=args.stdio[1:], env=dict(os.environ))
        return Client(
            target,
            mode=MODERN_VERSION if self._modern else "legacy",
            client_info=CLIENT_INFO,
            message_handler=self._on_message,
            read_timeout_seconds=self._timeout_s,
            # Every operation must reach the server.
            cache=None,
            list_roots_callback=answer_roots if "roots" in args.caps else None,
            sampling_callback=answer_sampling if "sampling" in args.caps else None,
            elicitation_callback=answer_elicitation if "elicitation" in args.caps else None,
        )

    async def describe_server(self) -> dict:
        session = self.client.session
        if self._modern:
            # The pinned mode sends nothing at connect: clear the made-up result, so that discover() asks the server.
            session._discover_result = None
            discover = dump(await session.discover())
        info = session.server_info
        facts = {
            "era": "modern" if self._modern else "legacy",
            "protocolVersion": session.protocol_version,
            "serverInfo": dump(info) if info else None,
            "capabilities": dump(session.server_capabilities),
            "instructions": session.instructions,
        }
        return facts | {"discover": discover} if self._modern else facts

    async def run(self, op: dict) -> dict:
        progress: list[dict] = []

        async def on_progress(value: float, total: float | None, message: str | None) -> None:
            update = {"progress": value, "total": total, "message": message}
            progress.append({key: item for key, item in update.items() if item is not None})

        try:
            outcome = {"ok": await self._perform(op, on_progress if op.get("progress") else None)}
        except Exception as error:
            outcome = {"error": describe_error(error)}
        return outcome | {"progress": progress} if op.get("progress") else outcome

    async def _perform(self, op: dict, on_progress) -> dict:
        client = self.client
        match op["op"]:
            case "list_tools":
                return await list_all("tools", client.list_tools)
            case "list_prompts":
                return await list_all("prompts", client.list_prompts)
            case "list_resources":
                return await list_all("resources", client.list_resources)
            case "list_templates":
                return await list_all("resourceTemplates", client.list_resource_templates)
            case "call":
                timeout_s = op["timeout_ms"] / 1000 if "timeout_ms" in op else None
                arguments = op.get("arguments", {})
                return dump(await client.call_tool(op["name"], arguments, timeout_s, on_progress))
            case "get_prompt":
                return dump(await client.get_prompt(op["name"], op.get("arguments", {})))
            case "read":
                return dump(await client.read_resource(op["uri"]))
            case "complete":
                is_prompt = op["ref"]["type"] == "ref/prompt"
                ref = (types.PromptReference if is_prompt else types.ResourceTemplateReference)(**op["ref"])
                context = (op.get("context") or {}).get("arguments")
                return dump(await client.complete(ref, op["argument"], context))
            case "ping":
                return dump(await client.send_ping())
            case "wait_list_changed":
                kind = op.get("kind", "tools")
                return await self._wait_for(op, {f"{kind}_list_changed": True}, {"method": LIST_CHANGED[kind]})
            case "wait_resource_updated":
                expected = {"method": RESOURCE_UPDATED, "uri": op["uri"]}
                return await self._wait_for(op, {"resource_subscriptions": [op["uri"]]}, expected)
            case other:
                raise ValueError(f"unknown operation {other!r}")

    async def _wait_for(self, op: dict, subscription: dict, expected: dict) -> dict:
        """Subscribes, runs the trigger, and waits for the notification that it should cause."""
        seen = len(self._notifications)

        def matches(notification: dict) -> bool:
            uri = expected.get("uri")
            params = notification.get("params", {})
            return notification["method"] == expected["method"] and uri in (None, params.get("uri"))

        async with AsyncExitStack() as stack:
            honored = None
            if self._modern:
                honored = dump((await stack.enter_async_context(self.client.listen(**subscription))).honored)
            elif "uri" in expected:
                await self.client.subscribe_resource(expected["uri"])
                stack.push_async_callback(self.client.unsubscribe_resource, expected["uri"])
            trigger = await self.run(op["trigger"]) if op.get("trigger") else None
            async with asyncio.timeout(op.get("timeout_ms", 10_000) / 1000), self._arrived:
                await self._arrived.wait_for(lambda: any(map(matches, self._notifications[seen:])))
            notification = next(filter(matches, self._notifications[seen:]))
            return {"trigger": trigger, "notification": notification, "honored": honored}

    async def _on_message(self, message) -> None:
        if isinstance(message, Exception):
            return
        async with self._arrived:
            self._notifications.append(message.model_dump(by_alias=True, mode="json", exclude_none=True))
            self._arrived.notify_all()


async def list_all(key: str, fetch) -> dict:
    page = dump(await fetch())
    everything = page
    while cursor := page.get("nextCursor"):
        page = dump(await fetch(cursor=cursor))
        everything[key] += page[key]
    everything.pop("nextCursor", None)
    return everything


# Fixed answers, so that a call through the broker can be compared with a direct one.


async def answer_roots(_context) -> types.ListRootsResult:
    return types.ListRootsResult(roots=[types.Root(uri="file:///spanwire", name="spanwire")])


async def answer_sampling(_context, _params) -> types.CreateMessageResult:
    content = types.TextContent(type="text", text="sampled")
    return types.CreateMessageResult(model="fixed", role="assistant", content=content, stop_reason="endTurn")


async def answer_elicitation(_context, _params) -> types.ElicitResult:
    return types.ElicitResult(action="decline")


def read_arguments(argv: list[str]) -> argparse.Namespace:
    at = argv.index("--stdio") if "--stdio" in argv else len(argv)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--url")
    parser.add_argument("--era", choices=["legacy", "modern"], required=True)
    parser.add_argument("--token")
    parser.add_argument("--ops", type=json.loads, default=[])
    parser.add_argument("--caps", type=lambda text: text.split(","), default=[])
    parser.add_argument("--sse", action="store_true")
    parser.add_argument("--timeout-ms", type=int, default=60_000)
    args = parser.parse_args(argv[:at])
    args.stdio = argv[at + 1 :]
    if bool(args.url) == bool(args.stdio):
        parser.error("give one of --url and --stdio")
    return args


async def main() -> int:
    args = read_arguments(sys.argv[1:])
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    document = None
    try:
        peer = Peer(args)
        async with peer.client:
            server = await peer.describe_server()
            document = {"server": server, "results": [await peer.run(op) for op in args.ops]}
    except Exception as error:
        # A failure to close after the last operation is not a failure to connect.
        document = document or {"error": describe_error(error)}
    print(json.dumps(document))
    return 1 if "error" in document else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
