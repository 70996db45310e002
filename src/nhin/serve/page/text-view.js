/** The text of a page, in which each word and each line's number can be chosen. */

import { isUnsure } from "./picture-view.js";
import { wordsOf } from "./readings.js";
import { say } from "./texts.js";

const STEPS = { ArrowLeft: -1, ArrowRight: 1 };
const LINES = { ArrowUp: -1, ArrowDown: 1 };

export class TextView {
  /** `onPick(line, word, isKey)`: a word was chosen, a line (`word` null), by keyboard or not. */
  constructor(onPick) {
    this.onPick = onPick;
    this.root = document.getElementById("text");
    this.root.addEventListener("click", (event) => this.click(event));
    this.root.addEventListener("keydown", (event) => this.press(event));
    this.root.addEventListener("focusin", (event) => this.makeStop(event.target));
  }

  /** Show a reading and its corrections; `message` instead where there is no text. */
  show(reading, corrections, message) {
    this.root.replaceChildren();
    if (!reading?.lines.length) {
      const note = makeElement("p", "empty", message);
      this.root.append(note);
      return;
    }
    const blocks = reading.blocks.length
      ? reading.blocks
      : [{ kind: "paragraph", lines: reading.lines.map((_, number) => number) }];
    for (const block of blocks) this.root.append(this.makeBlock(block, reading, corrections));
    this.items()[0]?.setAttribute("tabindex", "0");
  }

  makeBlock(block, reading, corrections) {
    const out = makeElement("div", `block ${block.kind}`);
    const makeLines = (numbers) => numbers.map((number) => makeLine(number, reading, corrections));
    if (!block.rows) {
      out.append(...makeLines(block.lines));
      return out;
    }
    out.setAttribute("role", "table");
    for (const row of block.rows) {
      const line = makeElement("div", "row");
      line.setAttribute("role", "row");
      for (const cell of row) {
        const box = makeElement("div", "cell");
        box.setAttribute("role", "cell");
        box.append(...makeLines(cell));
        line.append(box);
      }
      out.append(line);
    }
    return out;
  }

  items() {
    return [...this.root.querySelectorAll("[role=button]")];
  }

  find(line, word) {
    return this.root.querySelector(`[data-line="${line}"][data-word="${word ?? ""}"]`);
  }

  /** Mark a word, a line (`word` null) or nothing (`line` null), and bring it into sight of its own box. */
  select(line, word) {
    for (const item of this.root.querySelectorAll("[aria-pressed=true]")) item.setAttribute("aria-pressed", "false");
    const item = line === null ? null : this.find(line, word);
    if (!item) return;
    item.setAttribute("aria-pressed", "true");
    this.makeStop(item);
    if (this.root.scrollHeight > this.root.clientHeight) {
      const [box, seen] = [item.getBoundingClientRect(), this.root.getBoundingClientRect()];
      if (box.top < seen.top || box.bottom > seen.bottom) this.root.scrollTop += box.top - seen.top - seen.height / 3;
    }
  }

  focus(line, word) {
    this.find(line, word)?.focus();
  }

  /** Make an item the only one that the tab key stops at. */
  makeStop(item) {
    if (item.getAttribute("role") !== "button") return;
    for (const other of this.root.querySelectorAll('[role=button][tabindex="0"]')) other.tabIndex = -1;
    item.tabIndex = 0;
  }

  click(event) {
    const item = event.target.closest("[role=button]");
    if (!item || !document.getSelection().isCollapsed) return; // text is being selected, to be copied
    item.focus({ preventScroll: true });
    this.pick(item, false);
  }

  pick(item, isKey) {
    this.onPick(Number(item.dataset.line), item.dataset.word === "" ? null : Number(item.dataset.word), isKey);
  }

  press(event) {
    const item = event.target.closest("[role=button]");
    if (!item || event.ctrlKey || event.altKey || event.metaKey) return;
    const items = this.items();
    const at = items.indexOf(item);
    let next = null;
    if (event.key === "Enter" || event.key === " ") this.pick(item, true);
    else if (event.key in STEPS) next = items[at + STEPS[event.key]];
    else if (event.key in LINES) next = this.find(Number(item.dataset.line) + LINES[event.key], item.dataset.word === "" ? null : 0);
    else if (event.key === "Home") [next] = items;
    else if (event.key === "End") next = items.at(-1);
    else return;
    event.preventDefault();
    next?.focus();
  }
}

function makeLine(number, reading, corrections) {
  const line = reading.lines[number];
  const out = makeElement("p", "line");
  const mark = makeItem(String(number + 1), number, "");
  mark.classList.add("number");
  mark.setAttribute("aria-label", say("lineNumber", { number: number + 1 }));
  out.append(mark);
  wordsOf(reading, corrections, number).forEach((text, place) => {
    const isCorrected = text !== line.words[place].text;
    const item = makeItem(text || say("deleted"), number, place);
    item.classList.add("word");
    if (isCorrected) item.classList.add("corrected");
    else if (isUnsure(line.words[place])) item.classList.add("unsure");
    if (text === "") item.classList.add("deleted");
    const note = isCorrected ? "corrected" : isUnsure(line.words[place]) ? "unsure" : "";
    if (note) item.setAttribute("aria-label", `${item.textContent}, ${say(note)}`);
    out.append(" ", item);
  });
  return out;
}

function makeItem(text, line, word) {
  const item = makeElement("span", "", text);
  item.setAttribute("role", "button");
  item.setAttribute("aria-pressed", "false");
  item.tabIndex = -1;
  item.dataset.line = line;
  item.dataset.word = word;
  return item;
}

/** Return a new element of a class with a text. */
export function makeElement(tag, className, text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.textContent = text;
  return element;
}
