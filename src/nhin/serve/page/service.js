/** Requests to the service that serves this page. All network traffic of the page is in this file. */

/** An answer of the service that is an error: `status` 0 if there was no answer; `line` in English. */
export class ServiceError extends Error {
  constructor(status, line) {
    super(line);
    this.status = status;
    this.line = line;
  }
}

const MAX_TRIES = 20;
const DEFAULT_WAIT = 5;
const MAX_WAIT = 120;

/** Return the readings of pages of a file. `hooks`: signal, onWait(seconds), called each second of a wait. */
export async function fetchReadings(file, options, hooks) {
  const response = await send("v1/read", file, { format: "jsonl", ...options }, hooks);
  try {
    const lines = (await response.text()).split("\n");
    return lines.filter((line) => line.trim()).map((line) => JSON.parse(line));
  } catch (why) {
    if (hooks.signal?.aborted) throw why;
    throw new ServiceError(0, "");
  }
}

/** Return the picture of a page as a PNG blob, and the number of pages of the file. */
export async function fetchPicture(file, page, hooks) {
  const response = await send("v1/picture", file, { page }, hooks);
  return { blob: await response.blob(), pages: Number(response.headers.get("Nhin-Pages")) || 1 };
}

/** Return the file in another format as a blob. */
export async function fetchDocument(file, format, options, hooks) {
  return (await send("v1/read", file, { format, ...options }, hooks)).blob();
}

/** Return where the decoder looks in the picture of a line while it writes a text. */
export async function fetchLook(picture, text, hooks) {
  return (await send("v1/look", picture, { text }, hooks)).json();
}

async function send(path, file, values, { signal, onWait }) {
  const query = new URLSearchParams(Object.entries(values).filter(([, value]) => value !== "" && value !== undefined));
  for (let tries = 1; ; tries += 1) {
    const body = new FormData();
    body.append("file", file, file.name ?? "picture.png");
    let response;
    try {
      response = await fetch(`${path}?${query}`, { method: "POST", body, signal });
    } catch (why) {
      if (signal?.aborted) throw why;
      throw new ServiceError(0, "");
    }
    if (response.ok) return response;
    const after = Number.parseInt(response.headers.get("Retry-After") ?? "", 10);
    const isBusy = response.status === 429 || (response.status === 503 && after > 0);
    if (!isBusy || tries === MAX_TRIES) throw await readError(response);
    await response.body?.cancel();
    await wait(Math.min(MAX_WAIT, after > 0 ? after : DEFAULT_WAIT), signal, onWait);
  }
}

async function readError(response) {
  const text = await response.text().catch(() => "");
  try {
    return new ServiceError(response.status, String(JSON.parse(text).detail ?? ""));
  } catch {
    return new ServiceError(response.status, response.statusText);
  }
}

async function wait(seconds, signal, onWait) {
  for (let left = seconds; left > 0; left -= 1) {
    onWait?.(left);
    await new Promise((resolve, reject) => {
      const stop = () => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", stop);
        resolve();
      }, 1000);
      if (signal?.aborted) stop();
      else signal?.addEventListener("abort", stop, { once: true });
    });
  }
  onWait?.(0);
}

/** Return the key of a text that says what went wrong. */
export function explainError(why) {
  if (!(why instanceof ServiceError)) return "errorServer";
  const known = {
    0: "errorOffline", 408: "errorSlow", 413: "errorTooLarge", 415: "errorType", 429: "errorBusy",
    503: "errorBusy", 504: "errorTime",
  };
  return known[why.status] ?? (why.status < 500 ? "errorBadInput" : "errorServer");
}
