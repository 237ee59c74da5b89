// The conversation: what was said, and the answer as it comes.
import {render, split} from './markdown.js';
import * as settings from './settings.js';
import {stream} from './stream.js';

const scroll = document.getElementById('scroll');
const log = document.getElementById('log');
const greeting = document.getElementById('greeting');
const announcer = document.getElementById('announcer');

/** One entry of the log. */
class Turn {
  constructor(role) {
    this.element = document.createElement('li');
    this.element.className = `turn ${role}`;
    const speaker = document.createElement('span');
    speaker.className = 'unseen';
    speaker.textContent = role === 'user' ? 'You:' : 'Answer:';
    this.text = document.createElement('div');
    this.text.className = 'text';
    this.blocks = [];
    this.element.append(speaker, this.text);
    log.append(this.element);
  }

  /** Shows `text`; blocks that have not changed keep their elements. */
  show(text) {
    const blocks = split(text);
    let same = 0;
    while (same < this.blocks.length && this.blocks[same] === blocks[same]) ++same;
    while (this.text.childElementCount > same) this.text.lastElementChild.remove();
    this.text.append(...blocks.slice(same).map(render));
    this.blocks = blocks;
  }

  /** Adds to what was thought before the answer. */
  think(text) {
    if (!this.thoughts) {
      const frame = document.createElement('details');
      const title = document.createElement('summary');
      title.textContent = 'Thoughts';
      this.thoughts = document.createElement('div');
      frame.className = 'thoughts';
      frame.append(title, this.thoughts);
      this.text.before(frame);
    }
    this.thoughts.append(text);
  }

  add(className, text) {
    const line = document.createElement('p');
    line.className = className;
    line.textContent = text;
    this.element.append(line);
  }
}

/** Calls `show` with the newest text, at most once for each frame. */
class Painter {
  constructor(show) {
    this.show = show;
    this.frame = 0;
  }
  paint(text) {
    this.text = text;
    this.frame ||= requestAnimationFrame(() => this.flush());
  }
  flush() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (this.text === undefined) return;
    const atEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 40;
    this.show(this.text);
    if (atEnd) scroll.scrollTop = scroll.scrollHeight;
  }
}

function factsOf(usage, reason, began, first) {
  const facts = [];
  const now = performance.now();
  if (usage) facts.push(`${usage.completion_tokens} tokens`);
  if (usage && usage.completion_tokens > 1 && now > first) {
    const rate = (1000 * (usage.completion_tokens - 1)) / (now - first);
    facts.push(`${rate.toLocaleString('en', {maximumSignificantDigits: 3})} tokens/s`);
  }
  if (first) facts.push(`first after ${(first - began).toFixed(0)} ms`);
  if (reason === 'length') facts.push('cut at the longest length');
  return facts.join(' · ');
}

export class Chat {
  constructor() {
    this.messages = [];
    this.abort = null;
  }

  get busy() {
    return this.abort !== null;
  }

  clear() {
    this.stop();
    this.messages = [];
    log.replaceChildren();
    greeting.hidden = false;
  }

  stop() {
    this.abort?.abort();
  }

  request() {
    const system = settings.value('system');
    const body = {
      messages: system ? [{role: 'system', content: system}, ...this.messages] : this.messages,
      stream: true,
      stream_options: {include_usage: true},
    };
    for (const name of ['temperature', 'max_tokens'])
      if (settings.value(name)) body[name] = Number(settings.value(name));
    return body;
  }

  /** Sends a message and shows the answer; gives false when the message may be sent again. */
  async send(text) {
    greeting.hidden = true;
    const messages = this.messages;
    messages.push({role: 'user', content: text});
    new Turn('user').text.textContent = text;
    const turn = new Turn('assistant');
    turn.element.setAttribute('aria-busy', 'true');
    scroll.scrollTop = scroll.scrollHeight;
    announcer.textContent = 'Answering.';
    this.abort = new AbortController();
    const began = performance.now();
    const painter = new Painter((content) => turn.show(content));
    let first = 0, answer = '', usage, reason, failure;
    try {
      const body = this.request();
      for await (const chunk of stream('v1/chat/completions', body, settings.headers(), this.abort.signal)) {
        usage = chunk.usage ?? usage;
        const choice = chunk.choices[0];
        reason = choice?.finish_reason ?? reason;
        const thought = choice?.delta.reasoning_content;
        if (thought) turn.think(thought);
        if (thought || choice?.delta.content) first ||= performance.now();
        if (!choice?.delta.content) continue;
        answer += choice.delta.content;
        painter.paint(answer);
      }
    } catch (error) {
      failure = error;
    }
    painter.flush();
    this.abort = null;
    turn.element.removeAttribute('aria-busy');
    const stopped = failure?.name === 'AbortError';
    if (failure && !stopped) {
      turn.add('error', failure.message);
      announcer.textContent = failure.message;
    } else {
      turn.add('facts', stopped ? 'stopped' : factsOf(usage, reason, began, first));
      announcer.textContent = answer || 'An empty answer.';
    }
    scroll.scrollTop = scroll.scrollHeight;
    const answered = answer !== '' || !failure || stopped;
    if (answered) messages.push({role: 'assistant', content: answer});
    else messages.pop();
    if (failure?.status === 401) settings.open('This server asks for an API key.');
    return answered;
  }
}
