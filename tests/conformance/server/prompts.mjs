// Prompts, and what their arguments can be completed with.

import { elicit, form } from './call.mjs';
import { image, resource, text } from './media.mjs';

const user = (...content) => ({ messages: content.map((part) => ({ role: 'user', content: part })) });
const prompt = (name, description, get, args = []) => ({
  definition: { name, description, arguments: args.map((arg) => ({ name: arg, description: arg, required: true })) },
  get,
});

export const PROMPTS = [
  prompt('test_simple_prompt', 'A text', () => user(text('This is a simple prompt for testing.'))),
  prompt('test_prompt_with_arguments', 'A text with two arguments', ({ args }) =>
    user(text(`Prompt with arguments: arg1='${args.arg1}', arg2='${args.arg2}'`)), ['arg1', 'arg2']),
  prompt('test_prompt_with_embedded_resource', 'A resource', ({ args }) =>
    user(
      resource(String(args.resourceUri), 'text/plain', 'Embedded resource content for testing.'),
      text('Please process the embedded resource above.'),
    ), ['resourceUri']),
  prompt('test_prompt_with_image', 'A picture', () => user(image(), text('Please analyze the image above.'))),
  prompt('test_input_required_result_prompt', 'Asks before it answers', async (call) => {
    const fields = form({ context: { type: 'string' } });
    const given = await call.ask({ user_context: elicit('What context should the prompt use?', fields) });
    return user(text(`Context: ${given.user_context.content?.context}`));
  }),
];

/** Listed every other time that the list of prompts changed. */
export const EXTRA = prompt('test_extra_prompt', 'Comes and goes', () => user(text('here')));

const WORDS = ['paris', 'park', 'party', 'test', 'testing'];

/** The result of completion/complete. */
export function complete({ argument }) {
  const values = WORDS.filter((word) => word.startsWith(argument?.value ?? ''));
  return { completion: { values, total: values.length, hasMore: false } };
}
