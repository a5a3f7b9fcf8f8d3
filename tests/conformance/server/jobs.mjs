// Tools that can run as a task. `task` says whether they may or must; `prepare` runs before there is a task.

import { elicit, form } from './call.mjs';
import { INTERNAL_ERROR, RpcError } from './errors.mjs';
import { text } from './media.mjs';
import { answer, tool } from './tools.mjs';

const job = (task, name, description, run, inputSchema, prepare) => ({
  ...tool(name, description, run, inputSchema),
  task,
  prepare,
});
const CONFIRM = form({ confirm: { type: 'boolean' } });

export const JOBS = [
  job('optional', 'slow_compute', 'Takes as many seconds as it is told', async (call) => {
    await call.sleep(1000 * Number(call.args.seconds ?? 0));
    return answer(text(`computed ${call.args.label ?? ''}`));
  }, { type: 'object', properties: { seconds: { type: 'number' }, label: { type: 'string' } } }),
  job('required', 'failing_job', 'Fails after a while, as a tool does', async (call) => {
    await call.sleep(1000);
    return { isError: true, ...answer(text('the job failed')) };
  }),
  job('optional', 'protocol_error_job', 'Ends with a JSON-RPC error', async (call) => {
    await call.sleep(100);
    throw new RpcError(INTERNAL_ERROR, 'the job broke');
  }),
  job('optional', 'confirm_delete', 'Asks before it acts', async (call) => {
    const { confirm } = await call.ask({ confirm: elicit(`Delete ${call.args.filename}?`, CONFIRM) });
    const done = confirm.action === 'accept' && confirm.content?.confirm === true;
    return answer(text(`${call.args.filename} ${done ? 'deleted' : 'kept'}`));
  }, { type: 'object', properties: { filename: { type: 'string' } } }),
  job('optional', 'multi_input', 'Asks two things at once', async (call) => {
    const fields = form({ name: { type: 'string' }, confirm: { type: 'boolean' } });
    const { first, second } = await call.ask({ first: elicit('First?', fields), second: elicit('Second?', fields) });
    return answer(text(`${first.content?.name} and ${second.content?.name}`));
  }),
  // SEP-2663: the question comes as `input_required`, and only its answer makes a task.
  job('required', 'test_tool_with_task', 'Asks for a name, then works on it', (call, { user_name: user }) =>
    answer(text(`Hello, ${user.content?.name}!`)), undefined, (call) =>
    call.ask({ user_name: elicit('What is your name?', form({ name: { type: 'string' } })) })),
];
