// subscriptions/listen: one stream of changes, until one side ends it. 2026-07-28, basic/patterns/subscriptions.

const LISTS = { toolsListChanged: 'tools', promptsListChanged: 'prompts' };

/** Serves the request; its result is for a stream that the server itself ends, which this one never does. */
export async function listen({ world, id, params, wire }) {
  const { toolsListChanged, promptsListChanged, resourceSubscriptions, taskIds } = params.notifications ?? {};
  const honoured = {
    ...(toolsListChanged ? { toolsListChanged } : {}),
    ...(promptsListChanged ? { promptsListChanged } : {}),
    ...(resourceSubscriptions ? { resourceSubscriptions } : {}),
    ...(taskIds ? { taskIds: taskIds.filter((taskId) => world.tasks.has(taskId)) } : {}),
  };
  const _meta = { 'io.modelcontextprotocol/subscriptionId': id };
  const send = (method, more = {}) => wire.notify(method, { _meta, ...more });
  send('notifications/subscriptions/acknowledged', { notifications: honoured });

  const lists = Object.keys(LISTS).filter((name) => honoured[name]).map((name) => LISTS[name]);
  const handlers = {
    list: (kind) => lists.includes(kind) && send(`notifications/${kind}/list_changed`),
    resource: (uri) => honoured.resourceSubscriptions?.includes(uri) && send('notifications/resources/updated', { uri }),
    task: (task) => honoured.taskIds?.includes(task.id) && send('notifications/tasks', task.details()),
  };
  for (const [event, handler] of Object.entries(handlers)) world.changes.on(event, handler);
  await new Promise((done) => wire.signal.addEventListener('abort', done, { once: true }));
  for (const [event, handler] of Object.entries(handlers)) world.changes.off(event, handler);
  return { _meta };
}
