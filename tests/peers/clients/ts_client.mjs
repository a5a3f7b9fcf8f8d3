#!/usr/bin/env node
// The official TypeScript SDK as a client: runs a list of operations and prints one JSON document.
//
//   node ts_client.mjs (--url URL | --stdio CMD ARGS...) --era legacy|modern [--token T] [--ops JSON]
//                      [--caps roots,sampling,elicitation] [--timeout-ms N] [--sse]
//
// --sse speaks the transport of 2024-11-05 to the URL, in the legacy era.
// --stdio takes the rest of the command line. `legacy` is @modelcontextprotocol/sdk 1.x (`initialize`), `modern` is
// @modelcontextprotocol/client 2.x pinned to 2026-07-28 (`server/discover`, no fallback). Both are taken from
// $SPANWIRE_PEERS_DIR/node_modules. See ../README.md for the operations and the output.
import { createRequire } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

const MODERN_VERSION = "2026-07-28";
const CLIENT_INFO = { name: "spanwire-ts-client", version: "1.0.0" };
const LIST_CHANGED = {
    tools: "notifications/tools/list_changed",
    prompts: "notifications/prompts/list_changed",
    resources: "notifications/resources/list_changed",
};
const RESOURCE_UPDATED = "notifications/resources/updated";

// stdout is for the document; the SDK warns there of what a server does not offer.
console.debug = console.error;

const options = readArguments(process.argv.slice(2));
const notifications = [];
const waiters = new Set();
let negotiatedVersion = null;
let progressSink = null;
let client;
try {
    client = await connect(options);
} catch (error) {
    await print({ error: describeError(error) });
    process.exit(1);
}
const results = [];
for (const op of options.ops) results.push(await run(op));
await print({ server: describeServer(), results });
await client.close().catch(() => {});
process.exit(0);

function readArguments(argv) {
    const at = argv.indexOf("--stdio");
    const command = at < 0 ? undefined : argv.slice(at + 1);
    const string = { type: "string" };
    const { values } = parseArgs({
        args: at < 0 ? argv : argv.slice(0, at),
        options: { url: string, era: string, token: string, ops: string, caps: string, "timeout-ms": string, sse: { type: "boolean" } },
    });
    if (!values.url === !command?.length) throw new Error("give one of --url and --stdio");
    if (!["legacy", "modern"].includes(values.era)) throw new Error("give --era legacy or --era modern");
    return {
        url: values.url,
        command,
        modern: values.era === "modern",
        token: values.token,
        sse: values.sse ?? false,
        ops: JSON.parse(values.ops ?? "[]"),
        caps: (values.caps ?? "").split(",").filter(Boolean),
        timeoutMs: Number(values["timeout-ms"] ?? 60_000),
    };
}

async function connect({ modern, url, command, token, sse, caps, timeoutMs }) {
    const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
    const peers = process.env.SPANWIRE_PEERS_DIR || join(cache, "spanwire", "peers");
    const require = createRequire(join(peers, "package.json"));
    const sdk = modern
        ? { ...require("@modelcontextprotocol/client"), ...require("@modelcontextprotocol/client/stdio") }
        : {
              ...require("@modelcontextprotocol/sdk/client/index.js"),
              ...require("@modelcontextprotocol/sdk/client/stdio.js"),
              ...require("@modelcontextprotocol/sdk/client/streamableHttp.js"),
              ...require("@modelcontextprotocol/sdk/client/sse.js"),
              ...require("@modelcontextprotocol/sdk/types.js"),
          };
    const settings = { elicitation: { form: {}, url: {} } };
    const capabilities = Object.fromEntries(caps.map((name) => [name, settings[name] ?? {}]));
    const negotiation = modern ? { versionNegotiation: { mode: { pin: MODERN_VERSION } } } : {};
    const client = new sdk.Client(CLIENT_INFO, { capabilities, ...negotiation });
    answerServerRequests(client, caps, modern ? (method) => method : requestSchema(sdk));
    client.fallbackNotificationHandler = async ({ method, params }) => {
        notifications.push({ method, params });
        for (const waiter of waiters) waiter();
    };
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const Http = sse ? sdk.SSEClientTransport : sdk.StreamableHTTPClientTransport;
    const transport = url
        ? new Http(new URL(url), { requestInit: { headers } })
        : new sdk.StdioClientTransport({ command: command[0], args: command.slice(1), env: process.env });
    // sdk 1.x tells the negotiated version only to the transport, and the stdio one does not ask for it.
    const tell = transport.setProtocolVersion?.bind(transport);
    transport.setProtocolVersion = (version) => {
        negotiatedVersion = version;
        tell?.(version);
    };
    await client.connect(transport, { timeout: timeoutMs });
    // Progress is taken off the transport: sdk 1.x drops an update that is read together with its response.
    const deliver = transport.onmessage;
    transport.onmessage = (message, extra) => {
        if (message.method === "notifications/progress") progressSink?.(message.params);
        deliver(message, extra);
    };
    return client;
}

function requestSchema(sdk) {
    const schemas = {
        "roots/list": sdk.ListRootsRequestSchema,
        "sampling/createMessage": sdk.CreateMessageRequestSchema,
        "elicitation/create": sdk.ElicitRequestSchema,
    };
    return (method) => schemas[method];
}

/** Fixed answers, so that a call through the broker can be compared with a direct one. */
function answerServerRequests(client, caps, key) {
    const answers = {
        roots: ["roots/list", { roots: [{ uri: "file:///spanwire", name: "spanwire" }] }],
        sampling: [
            "sampling/createMessage",
            { model: "fixed", role: "assistant", content: { type: "text", text: "sampled" }, stopReason: "endTurn" },
        ],
        elicitation: ["elicitation/create", { action: "decline" }],
    };
    for (const name of caps) {
        const [method, answer] = answers[name];
        client.setRequestHandler(key(method), async () => answer);
    }
}

function describeServer() {
    return {
        era: options.modern ? "modern" : "legacy",
        protocolVersion: negotiatedVersion,
        serverInfo: client.getServerVersion() ?? null,
        capabilities: client.getServerCapabilities() ?? null,
        instructions: client.getInstructions() ?? null,
        ...(options.modern ? { discover: client.getDiscoverResult() } : {}),
    };
}

async function run(op) {
    const progress = [];
    const request = { timeout: op.timeout_ms ?? options.timeoutMs };
    if (op.progress) {
        request.onprogress = () => {};
        progressSink = ({ progressToken, ...update }) => progress.push(update);
    }
    let outcome;
    try {
        outcome = { ok: await perform(op, request) };
    } catch (error) {
        outcome = { error: describeError(error) };
    } finally {
        progressSink = null;
    }
    return op.progress ? { ...outcome, progress } : outcome;
}

function perform(op, request) {
    // Every operation must reach the server, so the modern client's response cache is only written, never read.
    const fresh = options.modern ? { ...request, cacheMode: "refresh" } : request;
    switch (op.op) {
        case "list_tools":
            return listAll("tools", (params) => client.listTools(params, fresh));
        case "list_prompts":
            return listAll("prompts", (params) => client.listPrompts(params, fresh));
        case "list_resources":
            return listAll("resources", (params) => client.listResources(params, fresh));
        case "list_templates":
            return listAll("resourceTemplates", (params) => client.listResourceTemplates(params, fresh));
        case "call": {
            const params = { name: op.name, arguments: op.arguments ?? {} };
            return options.modern ? client.callTool(params, request) : client.callTool(params, undefined, request);
        }
        case "get_prompt":
            return client.getPrompt({ name: op.name, arguments: op.arguments ?? {} }, request);
        case "read":
            return client.readResource({ uri: op.uri }, fresh);
        case "complete":
            return client.complete({ ref: op.ref, argument: op.argument, context: op.context }, request);
        case "ping":
            return client.ping(request);
        case "wait_list_changed": {
            const kind = op.kind ?? "tools";
            return waitFor(op, request, { [`${kind}ListChanged`]: true }, (n) => n.method === LIST_CHANGED[kind]);
        }
        case "wait_resource_updated": {
            const matches = (n) => n.method === RESOURCE_UPDATED && n.params.uri === op.uri;
            return waitFor(op, request, { resourceSubscriptions: [op.uri] }, matches);
        }
        default:
            throw new Error(`unknown operation ${JSON.stringify(op.op)}`);
    }
}

async function listAll(key, list) {
    const { nextCursor, ...all } = await list();
    for (let cursor = nextCursor; cursor; ) {
        const page = await list({ cursor });
        all[key] = [...all[key], ...page[key]];
        cursor = page.nextCursor;
    }
    return all;
}

/** Subscribes, runs the trigger, and waits for the notification that it should cause. */
async function waitFor(op, request, filter, matches) {
    const from = notifications.length;
    let subscription;
    if (options.modern) subscription = await client.listen(filter, request);
    else if (filter.resourceSubscriptions) await client.subscribeResource({ uri: op.uri }, request);
    try {
        const trigger = op.trigger ? await run(op.trigger) : null;
        const notification = await firstMatch(from, matches, op.timeout_ms ?? 10_000);
        return { trigger, notification, honored: subscription?.honoredFilter ?? null };
    } finally {
        if (subscription) await subscription.close();
        else if (filter.resourceSubscriptions) await client.unsubscribeResource({ uri: op.uri }, request).catch(() => {});
    }
}

function firstMatch(from, matches, timeoutMs) {
    return new Promise((resolve, reject) => {
        const check = () => {
            const found = notifications.slice(from).find(matches);
            if (!found) return;
            finish();
            resolve(found);
        };
        const finish = () => {
            waiters.delete(check);
            clearTimeout(timer);
        };
        const timer = setTimeout(() => {
            finish();
            reject(Object.assign(new Error("no notification in time"), { code: "NOTIFICATION_TIMEOUT" }));
        }, timeoutMs);
        waiters.add(check);
        check();
    });
}

/** The code and text of the wire; sdk 1.x puts "MCP error CODE: " before the text. */
function describeError(error) {
    const code = error.code ?? error.name;
    const message = String(error.message).replace(`MCP error ${code}: `, "");
    return error.data === undefined ? { code, message } : { code, message, data: error.data };
}

/** Ends when the reader has all of it: the exit of the process throws away what a pipe has not taken. */
function print(document) {
    return new Promise((done) => process.stdout.write(`${JSON.stringify(document)}\n`, done));
}
