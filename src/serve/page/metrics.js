// Prometheus text: samples by name, and what a histogram or counter did since the last reading.

/** A Map from a sample's name to [{labels, value}]. */
export function parse(text) {
  const samples = new Map();
  for (const line of text.split('\n')) {
    const match = /^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)/.exec(line);
    if (!match) continue;
    const [, name, list, value] = match;
    const labels = {};
    for (const [, label, content] of (list ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g))
      labels[label] = content.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
    if (!samples.has(name)) samples.set(name, []);
    samples.get(name).push({labels, value: Number(value)});
  }
  return samples;
}

/** Two readings of /metrics, `seconds` apart. */
export class Readings {
  constructor(now, before, seconds) {
    this.now = now;
    this.before = before;
    this.seconds = seconds;
  }

  /** The value of the first of `names` that is there; null without any. */
  value(...names) {
    return this.#find(this.now, names);
  }

  /** What a counter gains in a second; null at the first reading. */
  rate(...names) {
    const grown = this.#grown(names);
    return grown === null ? null : grown / this.seconds;
  }

  /** The mean of what a histogram saw since the last reading; null when it saw nothing. */
  mean(...names) {
    const count = this.#grown(names.map((name) => `${name}_count`));
    return count > 0 ? this.#grown(names.map((name) => `${name}_sum`)) / count : null;
  }

  #find(samples, names) {
    for (const name of names)
      if (samples?.has(name)) return samples.get(name)[0].value;
    return null;
  }

  #grown(names) {
    const now = this.#find(this.now, names), before = this.#find(this.before, names);
    return now === null || before === null || now < before ? null : now - before;  // less: it was restarted
  }
}
