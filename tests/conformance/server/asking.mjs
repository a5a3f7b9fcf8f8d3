// Tools that ask the client. They are written once: in 2026-07-28 the question is an `input_required` result and the tool
// runs again, from its start, with the answers it has; in older revisions it is a request in the middle of the call.

import { elicit, form, roots, sample } from './call.mjs';
import { text } from './media.mjs';
import { answer, tool } from './tools.mjs';

const NAME = form({ name: { type: 'string' } });
const shown = ({ action, content }) =>
  answer(text(`Elicitation completed: action=${action}, content=${JSON.stringify(content ?? {})}`));
const sampled = ({ content }) => (Array.isArray(content) ? content[0]?.text : content?.text) ?? '';

/** A tool that asks one question. */
const question = (name, description, key, request, reply) =>
  tool(name, description, async (call) => reply((await call.ask({ [key]: request }))[key]));

const DEFAULTS = {
  type: 'object',
  properties: {
    name: { type: 'string', description: 'User name', default: 'John Doe' },
    age: { type: 'integer', description: 'User age', default: 30 },
    score: { type: 'number', description: 'User score', default: 95.5 },
    status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
    verified: { type: 'boolean', default: true },
  },
  required: [],
};

const options = ['option1', 'option2', 'option3'];
const titled = (kind) =>
  ['First', 'Second', 'Third'].map((word, at) => ({ const: `value${at + 1}`, title: `${word} ${kind}` }));
const ENUMS = {
  type: 'object',
  properties: {
    untitledSingle: { type: 'string', enum: options },
    titledSingle: { type: 'string', oneOf: titled('Option') },
    legacyEnum: {
      type: 'string',
      enum: ['opt1', 'opt2', 'opt3'],
      enumNames: ['Option One', 'Option Two', 'Option Three'],
    },
    untitledMulti: { type: 'array', items: { type: 'string', enum: options } },
    titledMulti: { type: 'array', items: { anyOf: titled('Choice') } },
  },
  required: [],
};

const legacy = [
  tool('test_sampling', 'Asks the model of the client', async (call) => {
    const { reply } = await call.ask({ reply: sample(String(call.args.prompt ?? ''), 100) });
    return answer(text(`LLM response: ${sampled(reply)}`));
  }, form({ prompt: { type: 'string' } })),
  tool('test_elicitation', 'Asks the user', async (call) => {
    const fields = form({
      username: { type: 'string', description: "User's response" },
      email: { type: 'string', description: "User's email address" },
    });
    const { user } = await call.ask({ user: elicit(String(call.args.message ?? ''), fields) });
    return answer(text(`User response: action: ${user.action}, content: ${JSON.stringify(user.content ?? {})}`));
  }, form({ message: { type: 'string' } })),
  question('test_elicitation_sep1034_defaults', 'Asks with a default for each field', 'defaults',
    elicit('Please review these defaults', DEFAULTS), shown),
  question('test_elicitation_sep1330_enums', 'Asks with every form of an enumeration', 'enums',
    elicit('Please choose', ENUMS), shown),
];

const modern = [
  question('test_missing_capability', 'Needs a client that samples', 'reply', sample('Anybody there?', 10), (reply) =>
    answer(text(sampled(reply)))),
  question('test_streaming_elicitation', 'Asks the user', 'user', elicit('Who are you?', NAME), shown),
  question('test_input_required_result_elicitation', 'Asks for a name', 'user_name',
    elicit('What is your name?', NAME), ({ content }) => answer(text(`Hello, ${content?.name}!`))),
  question('test_input_required_result_sampling', 'Asks for a capital', 'capital_question',
    sample('What is the capital of France?', 100), (reply) => answer(text(sampled(reply)))),
  question('test_input_required_result_list_roots', 'Asks for the roots', 'client_roots', roots(), (reply) =>
    answer(text(`Roots: ${reply.roots.map(({ uri }) => uri).join(', ')}`))),
  question('test_input_required_result_request_state', 'Asks and remembers', 'confirm',
    elicit('Please confirm', form({ ok: { type: 'boolean' } })), () => answer(text('state-ok'))),
  question('test_input_required_result_tampered_state', 'Asks and remembers', 'confirm',
    elicit('Please confirm', form({ ok: { type: 'boolean' } })), () => answer(text('state-ok'))),
  tool('test_input_required_result_multiple_inputs', 'Asks three things at once', async (call) => {
    const given = await call.ask({
      user_name: elicit('What is your name?', NAME),
      greeting: sample('Generate a greeting', 50),
      client_roots: roots(),
    });
    const { user_name: user, greeting, client_roots: places } = given;
    return answer(text(`${sampled(greeting)} ${user.content?.name}, ${places.roots.length} roots`));
  }),
  tool('test_input_required_result_multi_round', 'Asks twice', async (call) => {
    const { step1 } = await call.ask({ step1: elicit('Step 1: What is your name?', NAME) });
    const color = form({ color: { type: 'string' } });
    const { step2 } = await call.ask({ step2: elicit('Step 2: What is your favorite color?', color) });
    return answer(text(`${step1.content?.name} likes ${step2.content?.color}`));
  }),
  tool('test_input_required_result_capabilities', 'Asks only what the client can be asked', async (call) => {
    const given = await call.askWhatIsPossible({
      user_name: elicit('What is your name?', NAME),
      greeting: sample('Generate a greeting', 50),
      client_roots: roots(),
    });
    return answer(text(`asked for ${Object.keys(given).join(', ')}`));
  }),
];

export const ASKING = [...legacy, ...modern];
