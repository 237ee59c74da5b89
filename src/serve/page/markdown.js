// The part of Markdown that models write, as elements: never as HTML.

const FENCE = /^\s*```/;
const HEADING = /^#{1,6}\s/;
const ITEM = /^\s*(?:[-*+]|\d+[.)])\s/;

/** Cuts a text into blocks: fenced code, headings, lists, and paragraphs between empty lines. */
export function split(text) {
  const blocks = [];
  let block = [];
  let fenced = false;
  const finish = () => {
    if (block.length > 0) blocks.push(block.join('\n'));
    block = [];
  };
  for (const line of text.split('\n')) {
    const fence = FENCE.test(line);
    if (fenced) {
      block.push(line);
      fenced = !fence;
      if (fence) finish();
      continue;
    }
    const alone = fence || HEADING.test(line) || (ITEM.test(line) && block.length > 0 && !ITEM.test(block[0]));
    if (alone || line.trim() === '') finish();
    if (line.trim() !== '') block.push(line);
    if (HEADING.test(line)) finish();
    fenced = fence;
  }
  finish();
  return blocks;
}

function element(name, ...children) {
  const out = document.createElement(name);
  out.append(...children);
  return out;
}

// `code`, **strong** and *emphasis*.
function inline(text) {
  const out = [];
  let plain = 0;
  for (const match of text.matchAll(/`([^`\n]+)`|\*\*([^*\n]+)\*\*|\*([^*\s][^*\n]*)\*/g)) {
    out.push(text.slice(plain, match.index));
    plain = match.index + match[0].length;
    const [, code, strong, emphasis] = match;
    if (code !== undefined) out.push(element('code', code));
    else if (strong !== undefined) out.push(element('strong', strong));
    else out.push(element('em', emphasis));
  }
  out.push(text.slice(plain));
  return out;
}

function list(name, lines) {
  const items = [];
  for (const line of lines) {
    const item = line.replace(/^\s*(?:[-*+]|\d+[.)])\s+/, '');
    if (item === line && items.length > 0) items[items.length - 1] += `\n${line.trim()}`;
    else items.push(item);
  }
  return element(name, ...items.map((item) => element('li', ...inline(item))));
}

/** The element of one block. */
export function render(block) {
  const lines = block.split('\n');
  if (FENCE.test(lines[0])) {
    const closed = lines.length > 1 && FENCE.test(lines.at(-1));
    return element('pre', element('code', lines.slice(1, closed ? -1 : undefined).join('\n')));
  }
  const heading = /^#{1,6}\s+(.*)$/.exec(block);
  if (heading) return element('h3', ...inline(heading[1]));
  if (/^\s*[-*+]\s/.test(lines[0])) return list('ul', lines);
  const numbered = /^\s*(\d+)[.)]\s/.exec(lines[0]);
  if (numbered) {
    const out = list('ol', lines);
    out.start = Number(numbered[1]);
    return out;
  }
  if (lines.every((line) => line.startsWith('>')))
    return element('blockquote', ...inline(lines.map((line) => line.replace(/^>\s?/, '')).join('\n')));
  return element('p', ...inline(block));
}
