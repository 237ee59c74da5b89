// Wires the page's controls.
import {Chat} from './chat.js';
import {Monitor} from './monitor.js';
import * as settings from './settings.js';

const byId = (id) => document.getElementById(id);
const prompt = byId('prompt'), send = byId('send'), stop = byId('stop'), toggle = byId('toggle');
const chat = new Chat();

function fitPrompt() {
  prompt.style.height = 'auto';
  prompt.style.height = `${prompt.scrollHeight + 2}px`;  // and the border
  send.disabled = prompt.value.trim() === '';
}

function showPanel(open) {
  document.body.dataset.panel = open ? 'open' : 'closed';
  toggle.setAttribute('aria-expanded', String(open));
}

async function submit() {
  const text = prompt.value.trim();
  if (text === '' || chat.busy) return;
  prompt.value = '';
  fitPrompt();
  send.hidden = true;
  stop.hidden = false;
  const answered = await chat.send(text);
  if (!answered && prompt.value === '') prompt.value = text;
  const focused = document.activeElement === stop;
  send.hidden = false;
  stop.hidden = true;
  fitPrompt();
  if (focused) prompt.focus();
}

byId('composer').addEventListener('submit', (event) => {
  event.preventDefault();
  submit();
});
prompt.addEventListener('input', fitPrompt);
prompt.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
document.addEventListener('keydown', (event) => {
  if (event.key === 'Escape' && !byId('settings').open) chat.stop();
});
stop.addEventListener('click', () => chat.stop());
byId('clear').addEventListener('click', () => {
  chat.clear();
  prompt.focus();
});
byId('configure').addEventListener('click', () => settings.open());
toggle.addEventListener('click', () => showPanel(document.body.dataset.panel !== 'open'));

const wide = matchMedia('(min-width: 56.01rem)');  // as style.css
wide.addEventListener('change', () => showPanel(wide.matches));
showPanel(wide.matches);
fitPrompt();
new Monitor(byId('plots'), {
  onState: (state) => {
    const shown = byId('state');
    if (shown.textContent === state) return;  // a status is read aloud when it changes
    shown.textContent = state;
    shown.dataset.state = state;
  },
  onModel: (name) => {
    byId('model').textContent = name;
    document.title = name ? `${name} · Sluice` : 'Sluice';
  },
}).start();
