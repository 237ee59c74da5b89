// A small line plot of the last readings.

const LENGTH = 120;  // readings: two minutes
const WIDTH = LENGTH - 1, HEIGHT = 40;
const SVG = 'http://www.w3.org/2000/svg';

// The next of 1, 2, 5, 10, ... that is no less.
function niceCeiling(value) {
  const decade = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * decade).find((ceiling) => ceiling >= value * (1 - 1e-9));
}

function node(parent, name, className) {
  const out = parent.namespaceURI === SVG || name === 'svg' ? document.createElementNS(SVG, name) : document.createElement(name);
  if (className) out.setAttribute('class', className);
  parent.append(out);
  return out;
}

/** The paths of a line and of the area below it: a stretch for each run of readings without a gap. */
function pathsOf(readings, top) {
  let line = '', area = '', run = [];
  const finish = () => {
    if (run.length > 0) {
      const [first] = run[0].split(',');
      line += run.length > 1 ? `M${run.join('L')}` : `M${run[0]}h.1`;  // one alone is a dot
      area += `M${first},${HEIGHT}L${run.join('L')}V${HEIGHT}Z`;
    }
    run = [];
  };
  readings.forEach((value, i) => {
    if (value === null) return finish();
    const x = WIDTH - (readings.length - 1 - i);
    run.push(`${x},${(HEIGHT * (1 - Math.min(value / top, 1))).toFixed(2)}`);
  });
  finish();
  return {line, area};
}

export class Plot {
  /** `series`: names of the lines. `format`: a value as text. `top`: the scale's end; else it follows the values. */
  constructor(parent, {title, series, format, top = 0}) {
    this.title = title;
    this.format = format;
    this.top = top;
    this.figure = node(parent, 'figure', 'plot');
    const head = node(this.figure, 'div', 'head');
    node(head, 'figcaption').textContent = title;
    const now = node(head, 'p', 'now');
    const frame = node(this.figure, 'div', 'frame');
    this.scale = node(frame, 'span', 'top');
    this.scale.setAttribute('aria-hidden', 'true');
    this.svg = node(frame, 'svg');
    this.svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    this.svg.setAttribute('role', 'img');
    this.area = node(this.svg, 'path', 'area s0');
    this.lines = series.map((name, i) => {
      const entry = node(now, 'span');
      if (series.length > 1) node(entry, 'i', `s${i % 4}`);
      const value = node(entry, 'b');
      entry.append(name && ` ${name}`);
      return {name, value, path: node(this.svg, 'path', `s${i % 4}`), readings: []};
    });
  }

  /** One reading of each line; null: none. */
  push(values) {
    this.lines.forEach((line, i) => {
      line.readings.push(values[i] ?? null);
      if (line.readings.length > LENGTH) line.readings.shift();
    });
    const highest = Math.max(...this.lines.flatMap((line) => line.readings));
    const top = this.top || (highest > 0 ? niceCeiling(highest) : 1);
    this.scale.textContent = highest > 0 || this.top ? this.format(top) : '';
    for (const line of this.lines) {
      const paths = pathsOf(line.readings, top);
      line.path.setAttribute('d', paths.line);
      if (this.lines.length === 1) this.area.setAttribute('d', paths.area);
      const known = line.readings.filter((value) => value !== null);
      line.value.textContent = known.length > 0 ? this.format(known.at(-1)) : '–';
    }
    this.svg.setAttribute('aria-label', this.#summary());
  }

  #summary() {
    const parts = this.lines.map((line) => {
      const known = line.readings.filter((value) => value !== null);
      const name = line.name ? `${line.name}: ` : '';
      if (known.length === 0) return `${name}nothing yet`;
      return `${name}last ${line.value.textContent}, between ${this.format(Math.min(...known))} and ${this.format(Math.max(...known))}`;
    });
    return `${this.title}. ${parts.join('; ')}`;
  }
}
