"""A FastMCP server for the end-to-end tests, over Streamable HTTP (or stdio with --stdio).

Eras: the same endpoint serves both. A request with the 2026-07-28 envelope (`server/discover` first) is answered without a
session; an `initialize` opens a session and negotiates 2024-11-05 up to 2025-11-25.

FastMCP 4.1.2 alone answers neither `subscriptions/listen` nor `resources/subscribe`, and says nothing when a tool, prompt or
resource is added. So that changes reach every client the way the specification says, this file registers the official SDK's
own handlers for those methods and announces changes itself: to `subscriptions/listen` streams (modern) and on the standalone
stream of each session (legacy).
"""

import argparse
import asyncio
import base64
import socket
import sys

import mcp_types as types
import uvicorn
from fastmcp import Context, FastMCP
from fastmcp.exceptions import ToolError
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)
from mcp.shared.subscriptions import event_to_notification
from pydantic import BaseModel

COUNTER_URI = "counter://value"
CITIES = ["Paris", "Palermo", "Prague", "Lisbon"]
PIXEL_PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


class Sum(BaseModel):
    a: int
    b: int
    total: int


class Announcer:
    """Tells every connected client of a change, each in the way of its era."""

    def __init__(self, mcp: FastMCP) -> None:
        self._bus = InMemorySubscriptionBus()
        # Keyed by the connection, which outlives the per-request session proxy that reaches it.
        self._sessions: dict[int, object] = {}
        self._subscribed: dict[int, set[str]] = {}
        server = mcp._mcp_server
        server.add_request_handler(
            "subscriptions/listen", types.SubscriptionsListenRequestParams, ListenHandler(self._bus)
        )
        server.add_request_handler("resources/subscribe", types.SubscribeRequestParams, self._subscribe)
        server.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, self._unsubscribe)
        server.middleware.append(self._remember)

    async def announce(self, event: ServerEvent) -> None:
        await self._bus.publish(event)
        notification = event_to_notification(event, {})
        for key, session in list(self._sessions.items()):
            if isinstance(event, ResourceUpdated) and event.uri not in self._subscribed.get(key, ()):
                continue
            try:
                await session.send_notification(notification)
            except Exception:
                self._forget(key)

    async def _remember(self, ctx, call_next):
        if ctx.method == "notifications/initialized":
            key = id(ctx.session._connection)
            self._sessions[key] = ctx.session
            ctx.session._connection.exit_stack.callback(self._forget, key)
        return await call_next(ctx)

    def _forget(self, key: int) -> None:
        self._sessions.pop(key, None)
        self._subscribed.pop(key, None)

    async def _subscribe(self, ctx, params) -> types.EmptyResult:
        self._subscribed.setdefault(id(ctx.session._connection), set()).add(str(params.uri))
        return types.EmptyResult()

    async def _unsubscribe(self, ctx, params) -> types.EmptyResult:
        self._subscribed.get(id(ctx.session._connection), set()).discard(str(params.uri))
        return types.EmptyResult()


def build(page_size: int | None) -> FastMCP:
    mcp = FastMCP(
        "spanwire-fastmcp-peer",
        instructions="A peer for Spanwire's end-to-end tests.",
        version="1.0.0",
        list_page_size=page_size,
    )
    announcer = Announcer(mcp)
    counter = 0

    @mcp.tool(annotations={"readOnlyHint": True, "idempotentHint": True})
    def echo(text: str) -> str:
        """Return the text as it came."""
        return text

    @mcp.tool(annotations={"readOnlyHint": True})
    def add(a: int, b: int) -> Sum:
        """Add two integers, with structured output."""
        return Sum(a=a, b=b, total=a + b)

    @mcp.tool
    async def slow(seconds: float, ctx: Context, steps: int = 4) -> str:
        """Sleep for `seconds`, reporting progress at each of `steps` equal parts."""
        for step in range(1, steps + 1):
            await asyncio.sleep(seconds / steps)
            await ctx.report_progress(step, steps, f"step {step} of {steps}")
        return f"slept {seconds} s in {steps} steps"

    # No output schema: the text must cross the wire once, not again as structured content.
    @mcp.tool(output_schema=None)
    def big(bytes: int) -> str:
        """Return a text of exactly this many ASCII bytes."""
        return ("0123456789abcdef" * (bytes // 16 + 1))[:bytes]

    @mcp.tool
    def fail(message: str = "this tool always fails") -> str:
        """Raise a tool error."""
        raise ToolError(message)

    @mcp.tool
    async def register_tool(name: str) -> str:
        """Add a tool of this name, which returns its own name, and announce that the list changed."""

        def added() -> str:
            return name

        mcp.tool(added, name=name, description=f"Return {name!r}.")
        await announcer.announce(ToolsListChanged())
        return f"registered {name}"

    @mcp.tool
    async def remove_tool(name: str) -> str:
        """Remove the tool of this name and announce that the list changed."""
        mcp.local_provider.remove_tool(name)
        await announcer.announce(ToolsListChanged())
        return f"removed {name}"

    @mcp.tool
    async def register_prompt(name: str) -> str:
        """Add a prompt of this name and announce that the list changed."""

        def added() -> str:
            return name

        mcp.prompt(added, name=name, description=f"Say {name!r}.")
        await announcer.announce(PromptsListChanged())
        return f"registered {name}"

    @mcp.tool
    async def register_resource(name: str) -> str:
        """Add the resource `added://NAME` and announce that the list changed."""

        def added() -> str:
            return name

        mcp.resource(f"added://{name}", name=name, mime_type="text/plain")(added)
        await announcer.announce(ResourcesListChanged())
        return f"registered added://{name}"

    @mcp.tool
    async def touch_resource() -> str:
        """Count up the resource counter://value and tell its subscribers."""
        nonlocal counter
        counter += 1
        await announcer.announce(ResourceUpdated(uri=COUNTER_URI))
        return str(counter)

    @mcp.prompt
    def greeting(name: str, city: str = "Paris") -> str:
        """Greet someone in a city; `city` has completion."""
        return f"Greet {name}, who lives in {city}."

    @mcp.prompt
    def review(code: str, language: str = "rust") -> str:
        """Ask for a code review."""
        return f"Review this {language} code:\n{code}"

    @mcp.resource("static://text", mime_type="text/plain")
    def static_text() -> str:
        """A text that never changes."""
        return "a static text\nwith two lines"

    @mcp.resource("static://pixel.png", mime_type="image/png")
    def static_binary() -> bytes:
        """A PNG of one pixel."""
        return PIXEL_PNG

    @mcp.resource(COUNTER_URI, mime_type="text/plain")
    def counter_value() -> str:
        """How often touch_resource was called."""
        return str(counter)

    @mcp.resource("city://{name}", mime_type="application/json")
    def city(name: str) -> dict[str, str | int]:
        """Facts on a city; `name` has completion."""
        return {"name": name, "letters": len(name)}

    @mcp.completion
    def complete(ref, argument, context):
        of_prompt = isinstance(ref, types.PromptReference) and (ref.name, argument.name) == ("greeting", "city")
        of_template = isinstance(ref, types.ResourceTemplateReference) and argument.name == "name"
        if of_prompt or of_template:
            return [c for c in CITIES if c.lower().startswith(argument.value.lower())]
        return None

    return mcp


class ReadyServer(uvicorn.Server):
    """Says so on stderr once it accepts connections."""

    def __init__(self, config: uvicorn.Config, url: str) -> None:
        super().__init__(config)
        self._url = url

    async def startup(self, sockets=None) -> None:
        await super().startup(sockets=sockets)
        if self.started:
            print(f"listening on {self._url}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port, told on stderr")
    parser.add_argument("--page-size", type=int, default=None, help="page the list results by this many items")
    parser.add_argument("--stdio", action="store_true", help="serve stdin and stdout instead of HTTP")
    args = parser.parse_args()

    mcp = build(args.page_size)
    if args.stdio:
        mcp.run(transport="stdio", show_banner=False, log_level="ERROR")
        return

    listener = socket.create_server((args.host, args.port))
    url = f"http://{args.host}:{listener.getsockname()[1]}/mcp"
    config = uvicorn.Config(
        mcp.http_app(path="/mcp"), log_level="error", lifespan="on", ws="none", timeout_graceful_shutdown=1
    )
    asyncio.run(ReadyServer(config, url).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
