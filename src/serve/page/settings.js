// What the visitor has set. The key lives as long as the tab, the rest as long as the browser keeps it.

const dialog = document.getElementById('settings');
const complaint = document.getElementById('complaint');
const fields = [...dialog.querySelectorAll('[name]')];

const storageOf = (field) => (field.name === 'key' ? sessionStorage : localStorage);

function applyTheme() {
  document.documentElement.dataset.theme = value('theme');
}

/** What the field holds: '' when nothing is set. */
export function value(name) {
  return fields.find((field) => field.name === name).value.trim();
}

/** Headers of a request to this server. */
export function headers() {
  const key = value('key');
  return key ? {Authorization: `Bearer ${key}`} : {};
}

/** Opens the dialog; `why` says what is missing. */
export function open(why = '') {
  complaint.textContent = why;
  complaint.hidden = !why;
  if (!dialog.open) dialog.showModal();
}

for (const field of fields) {
  field.value = storageOf(field).getItem(`sluice.${field.name}`) ?? '';
  field.addEventListener('change', () => {
    storageOf(field).setItem(`sluice.${field.name}`, field.value);
    applyTheme();
  });
}
applyTheme();
