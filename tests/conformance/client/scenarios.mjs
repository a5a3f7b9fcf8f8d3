// What the user of the broker does in each scenario. A scenario of the suite that is not here is not run.

const call = (client, name, args = {}) => client.request('tools/call', { name, arguments: args });
const nothing = async () => {};

/** By the name of the scenario: does it with a client of the node. `context` is what the suite hands over. */
export const SCENARIOS = {
  // The broker alone: it connects and lists.
  initialize: nothing,
  'request-metadata': nothing,
  'json-schema-ref-no-deref': nothing,
  tools_call: (client) => call(client, 'add_numbers', { a: 5, b: 3 }),
  'elicitation-sep1034-client-defaults': (client) => call(client, 'test_client_elicitation_defaults'),
  'sse-retry': (client) => call(client, 'test_reconnection'),
  async 'sep-2322-client-request-state'(client) {
    const other = call(client, 'test_mrtr_unrelated');
    await call(client, 'test_mrtr_echo_state');
    await other;
    await call(client, 'test_mrtr_no_state');
    await call(client, 'test_mrtr_no_result_type');
  },
  async 'http-standard-headers'(client) {
    for (const { name } of client.tools) await call(client, name);
    const { resources } = await client.request('resources/list');
    for (const { uri } of resources) await client.request('resources/read', { uri });
    const { prompts } = await client.request('prompts/list');
    for (const { name } of prompts) await client.request('prompts/get', { name });
  },
  async 'http-custom-headers'(client, { toolCalls }) {
    for (const { name, arguments: args } of toolCalls) await call(client, name, args);
  },
  // A user that calls whatever the broker lists, so that a tool with a bad annotation must not be listed.
  async 'http-invalid-tool-headers'(client) {
    for (const { name } of client.tools) await call(client, name, { region: 'here' }).catch(nothing);
  },
  async 'json-schema-2020-12-preservation'(client) {
    const { inputSchema } = client.tools.find(({ name }) => name === 'json_schema_2020_12_tool');
    await call(client, 'json_schema_echo', { schema: inputSchema });
  },
};
