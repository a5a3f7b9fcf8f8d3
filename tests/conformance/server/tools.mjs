// Tools that answer by themselves.

import { audio, image, resource, text } from './media.mjs';

const NOTHING = { type: 'object', properties: {} };

/** A tool without arguments. */
export const tool = (name, description, run, inputSchema = NOTHING, more = {}) => ({
  definition: { name, description, inputSchema, ...more },
  run,
});
export const answer = (...content) => ({ content });

// SEP-1613 and SEP-2106: keywords that nobody on the way may drop.
const SCHEMA_2020_12 = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  type: 'object',
  $defs: {
    address: {
      $anchor: 'addressDef',
      type: 'object',
      properties: { street: { type: 'string' }, city: { type: 'string' } },
    },
  },
  properties: {
    name: { type: 'string' },
    address: { $ref: '#/$defs/address' },
    contactMethod: { type: 'string', enum: ['phone', 'email'] },
    phone: { type: 'string' },
    email: { type: 'string' },
  },
  allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
  if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
  then: { required: ['phone'] },
  else: { required: ['email'] },
  additionalProperties: false,
};

const content = [
  tool('test_simple_text', 'Answers with a text', () =>
    answer(text('This is a simple text response for testing.'))),
  tool('test_image_content', 'Answers with a picture', () => answer(image())),
  tool('test_audio_content', 'Answers with a sound', () => answer(audio())),
  tool('test_embedded_resource', 'Answers with a resource', () =>
    answer(resource('test://embedded-resource', 'text/plain', 'This is an embedded resource content.'))),
  tool('test_multiple_content_types', 'Answers with a text, a picture and a resource', () =>
    answer(
      text('Multiple content types test:'),
      image(),
      resource('test://mixed-content-resource', 'application/json', JSON.stringify({ test: 'data', value: 123 })),
    )),
  tool('test_error_handling', 'Always fails, as a tool does', () => ({
    isError: true,
    ...answer(text('This tool intentionally returns an error for testing')),
  })),
  tool('json_schema_2020_12_tool', 'Has a schema of JSON Schema 2020-12', (call) =>
    answer(text(`JSON Schema 2020-12 tool called with: ${JSON.stringify(call.args)}`)), SCHEMA_2020_12),
  tool('test_x_mcp_header', 'Has a parameter that travels in a header too', (call) =>
    answer(text(`region ${call.args.region}`)), {
    type: 'object',
    properties: { region: { type: 'string', 'x-mcp-header': 'Region' } },
    required: ['region'],
  }),
  tool('greet', 'Greets by name', (call) => answer(text(`Hello, ${call.args.name}!`)), {
    type: 'object',
    properties: { name: { type: 'string' } },
  }),
];

const onTheWay = [
  tool('test_tool_with_logging', 'Writes three log messages', async (call) => {
    call.log('info', 'Tool execution started');
    await call.sleep(50);
    call.log('info', 'Tool processing data');
    await call.sleep(50);
    call.log('info', 'Tool execution completed');
    return answer(text('logged'));
  }),
  tool('test_logging_tool', 'Writes a log message', async (call) => {
    call.log('info', 'one message');
    return answer(text('logged'));
  }),
  tool('test_tool_with_progress', 'Reports progress three times', async (call) => {
    call.progress(0, 100);
    await call.sleep(50);
    call.progress(50, 100);
    await call.sleep(50);
    call.progress(100, 100);
    return answer(text(String(call.progressToken ?? 'no token')));
  }),
  tool('test_reconnection', 'Ends its stream before the answer is there (SEP-1699)', async (call) => {
    call.hangUp();
    await call.sleep(100);
    return answer(text('Reconnection test completed successfully.'));
  }),
];

const changes = [
  tool('test_trigger_tool_change', 'Changes the list of tools', (call) => {
    call.world.toggleTool();
    return answer(text('tools changed'));
  }),
  tool('test_trigger_prompt_change', 'Changes the list of prompts', (call) => {
    call.world.togglePrompt();
    return answer(text('prompts changed'));
  }),
];

export const ANSWERING = [...content, ...onTheWay, ...changes];

/** Listed every other time that the list of tools changed. */
export const EXTRA = tool('test_extra', 'Comes and goes', () => answer(text('here')));
