/** The files of the page: each is read in its turn, with its pages, their pictures and corrections. */

import { applyCorrections } from "./readings.js";
import { explainError, fetchDocument, fetchPicture, fetchReadings } from "./service.js";

const PAGES_AT_ONCE = 4;
let count = 0;

/** One file. `state`: waiting, reading, done, cancelled or failed. */
export class FileReading {
  constructor(file, options) {
    count += 1;
    this.id = `file-${count}`;
    this.file = file;
    this.name = file.name || `picture-${count}.png`;
    this.options = options;
    this.pictures = new Map();
    this.reset();
  }

  reset() {
    this.state = "waiting";
    this.seconds = 0; // until a busy service is asked again
    this.error = null;
    this.total = 0; // pages, once that is known
    this.readings = [];
    this.corrections = [];
    this.page = 0;
    this.abort = new AbortController();
  }

  /** Read all pages, a few at a time; `onChange()` is called whenever there is something new to show. */
  async read(onChange) {
    if (this.state !== "waiting") return;
    this.state = "reading";
    onChange();
    const onWait = (seconds) => {
      this.seconds = seconds;
      onChange();
    };
    const hooks = { signal: this.abort.signal, onWait };
    try {
      for (const pages of await this.planRequests(hooks)) {
        for (const reading of await fetchReadings(this.file, { ...this.options, pages }, hooks)) {
          this.readings.push(reading);
          this.corrections.push(new Map());
        }
        onChange();
      }
      this.state = "done";
    } catch (why) {
      this.state = hooks.signal.aborted ? "cancelled" : "failed";
      const key = this.readings.length && why.status === 0 ? "errorCut" : explainError(why);
      this.error = this.state === "failed" ? { key, line: why.line ?? String(why) } : null;
    }
    this.seconds = 0;
    onChange();
  }

  /** Return the pages of each request: one at first, so that something is seen soon. */
  async planRequests(hooks) {
    const { pages } = this.options;
    if (!(await hasPages(this.file))) return [""];
    const first = pages && listPages(pages, Infinity, 1);
    if (pages && !first?.length) return [pages]; // the service says what is wrong with them
    const number = pages ? first[0] : 1;
    const picture = fetchPicture(this.file, number, hooks);
    this.pictures.set(number, picture.then(({ blob }) => URL.createObjectURL(blob)));
    this.pictures.get(number).catch(() => this.pictures.delete(number));
    let count;
    try {
      count = (await picture).pages;
    } catch (why) {
      if (why.status === 422) return [pages]; // what cannot be drawn may still have text
      throw why;
    }
    const numbers = listPages(pages || "1-", count, count);
    this.total = numbers.length;
    const out = [];
    for (let at = 0; at < numbers.length; at += at ? PAGES_AT_ONCE : 1) {
      out.push(numbers.slice(at, at + (at ? PAGES_AT_ONCE : 1)).join(","));
    }
    return out.length ? out : [pages];
  }

  /** Whether the browser may show it at once, before a shape of its pages is known. */
  get isPicture() {
    return this.file.type.startsWith("image/") && !this.total;
  }

  cancel() {
    this.abort.abort();
    if (this.state === "waiting") this.state = "cancelled";
  }

  /** Return the address of the picture of a page (null before the first was read: the file as it is). */
  picture(reading) {
    const key = reading?.page ?? 0;
    if (!this.pictures.has(key)) {
      this.pictures.set(key, this.openPicture(reading));
      this.pictures.get(key).catch(() => this.pictures.delete(key)); // so that it can be tried again
    }
    return this.pictures.get(key);
  }

  async openPicture(reading) {
    const shown = await openHere(this.file);
    if (!reading) return shown?.url ?? null;
    // A browser that shows the file in the size that was read shows what was read.
    if (shown && shown.width === reading.width && shown.height === reading.height && reading.page === 1) return shown.url;
    if (shown) URL.revokeObjectURL(shown.url);
    return URL.createObjectURL((await fetchPicture(this.file, reading.page, {})).blob);
  }

  async close() {
    this.cancel();
    for (const picture of this.pictures.values()) {
      const url = await picture.catch(() => null);
      if (url) URL.revokeObjectURL(url);
    }
  }

  /** Return the pages as they were read and corrected. */
  corrected() {
    return this.readings.map((reading, i) => applyCorrections(reading, this.corrections[i]));
  }

  isCorrected() {
    return this.corrections.some((page) => page.size > 0);
  }

  /** Return the file as a searchable PDF. */
  makePdf(hooks) {
    return fetchDocument(this.file, "pdf", this.options, hooks);
  }
}

/** Return whether a file is of a kind that has pages: PDF or TIFF. */
async function hasPages(file) {
  const head = new TextDecoder("latin1").decode(await file.slice(0, 1024).arrayBuffer());
  return head.includes("%PDF-") || /^(II[*+]\0|MM\0[*+])/.test(head);
}

/** Return the page numbers, at most `most` of them, that "3-7,9,12-" means in a file of `count`; null if it means nothing. */
export function listPages(text, count, most) {
  const found = new Set();
  for (const part of text.split(",")) {
    const [, first, dash, last] = /^\s*(\d+)\s*(-?)\s*(\d*)\s*$/.exec(part) ?? [];
    if (!first || (last && !dash)) return null;
    const end = last ? Number(last) : dash ? count : Number(first);
    if (Number(first) < 1 || end < Number(first)) return null;
    for (let page = Number(first); page <= Math.min(end, count) && found.size < most; page += 1) found.add(page);
  }
  return [...found].sort((a, b) => a - b);
}

/** Return an address and the size of a picture that the browser can open itself, or null. */
async function openHere(file) {
  if (!file.type.startsWith("image/")) return null;
  const url = URL.createObjectURL(file);
  const image = new Image();
  image.src = url;
  try {
    await image.decode();
  } catch {
    URL.revokeObjectURL(url);
    return null;
  }
  return { url, width: image.naturalWidth, height: image.naturalHeight };
}
