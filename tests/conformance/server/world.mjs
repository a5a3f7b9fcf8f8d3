// What all sessions and requests of one server share: the lists that change, the tasks, and who wants to hear of it.

import { EventEmitter } from 'node:events';

export class World {
  constructor() {
    // Emits ('list', 'tools' | 'prompts'), ('resource', uri) and ('task', task).
    this.changes = new EventEmitter().setMaxListeners(0);
    this.extraTool = false;
    this.extraPrompt = false;
    // By id; see tasks.mjs.
    this.tasks = new Map();
  }

  /** Adds a tool, or takes it away again. */
  toggleTool() {
    this.extraTool = !this.extraTool;
    this.changes.emit('list', 'tools');
  }

  /** Likewise a prompt. */
  togglePrompt() {
    this.extraPrompt = !this.extraPrompt;
    this.changes.emit('list', 'prompts');
  }
}
