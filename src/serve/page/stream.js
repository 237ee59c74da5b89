// A request whose answer comes as server-sent events.

export class ApiError extends Error {
  constructor(status, body) {
    super(body?.error?.message ?? `the server answered with status ${status}`);
    this.status = status;
  }
}

/** Posts `body` to `path` and gives the JSON of each event up to [DONE]. */
export async function* stream(path, body, headers, signal) {
  const response = await fetch(path, {
    method: 'POST',
    headers: {'Content-Type': 'application/json', ...headers},
    body: JSON.stringify(body),
    signal,
  });
  if (!response.ok) throw new ApiError(response.status, await response.json().catch(() => null));
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = '';
  for (;;) {
    const {done, value} = await reader.read();
    if (done) throw new Error('the connection ended before the answer did');
    const events = (pending + value).split('\n\n');
    pending = events.pop();
    for (const event of events) {
      if (!event.startsWith('data: ')) continue;  // a comment
      const data = event.slice('data: '.length);
      if (data === '[DONE]') return;
      const json = JSON.parse(data);
      if (json.error) throw new ApiError(response.status, json);
      yield json;
    }
  }
}
