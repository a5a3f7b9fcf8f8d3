// Resources and the one template.

import { PNG } from './media.mjs';

const RESOURCES = [
  {
    definition: { uri: 'test://static-text', name: 'Static text', description: 'A text', mimeType: 'text/plain' },
    read: () => ({ text: 'This is the content of the static text resource.' }),
  },
  {
    definition: { uri: 'test://static-binary', name: 'Static binary', description: 'A picture', mimeType: 'image/png' },
    read: () => ({ blob: PNG }),
  },
  {
    definition: { uri: 'test://watched-resource', name: 'Watched', description: 'To subscribe to', mimeType: 'text/plain' },
    read: () => ({ text: 'Watched resource content.' }),
  },
  {
    definition: { uri: 'test://example-resource', name: 'Example', description: 'To embed', mimeType: 'text/plain' },
    read: () => ({ text: 'Example resource content.' }),
  },
];

const TEMPLATE = {
  uriTemplate: 'test://template/{id}/data',
  name: 'Template',
  description: 'A document per id',
  mimeType: 'application/json',
};
const OF_TEMPLATE = /^test:\/\/template\/([^/]+)\/data$/;

export const listResources = () => ({ resources: RESOURCES.map(({ definition }) => definition) });
export const listTemplates = () => ({ resourceTemplates: [TEMPLATE] });

/** The result of resources/read, or undefined. */
export function readResource(uri) {
  const found = RESOURCES.find(({ definition }) => definition.uri === uri);
  if (found) return { contents: [{ uri, mimeType: found.definition.mimeType, ...found.read() }] };
  const [, id] = OF_TEMPLATE.exec(uri) ?? [];
  if (id === undefined) return undefined;
  const text = JSON.stringify({ id, templateTest: true, data: `Data for ID: ${id}` });
  return { contents: [{ uri, mimeType: TEMPLATE.mimeType, text }] };
}
