/** The list of files: which is shown, how far each is, and what can be done with it. */

import { makeElement } from "./text-view.js";
import { say } from "./texts.js";

export class FileListView {
  /** `on`: select(file), cancel(file), retry(file), remove(file). */
  constructor(on) {
    this.on = on;
    this.root = document.getElementById("file-list");
    this.rows = new Map();
  }

  /** Show the files; rows are changed in place, so that the focus stays where it is. */
  show(files, current) {
    document.getElementById("files").hidden = !files.length;
    for (const [file, row] of this.rows) {
      if (files.includes(file)) continue;
      row.item.remove();
      this.rows.delete(file);
    }
    for (const file of files) {
      if (!this.rows.has(file)) this.rows.set(file, this.makeRow(file));
      this.update(this.rows.get(file), file, file === current);
    }
  }

  makeRow(file) {
    const row = { item: makeElement("li", "file") };
    const add = (name, className, act) => {
      row[name] = makeElement("button", className);
      row[name].type = "button";
      row[name].addEventListener("click", () => act(file));
    };
    add("choose", "choose", this.on.select);
    add("cancel", "small", this.on.cancel);
    add("retry", "small", this.on.retry);
    add("remove", "small", this.on.remove);
    row.name = makeElement("span", "name", file.name);
    row.state = makeElement("span", "state");
    row.progress = makeElement("progress", "");
    row.choose.append(row.name, row.state);
    row.item.append(row.choose, row.cancel, row.retry, row.remove, row.progress);
    this.root.append(row.item);
    return row;
  }

  update(row, file, isCurrent) {
    const isBusy = ["waiting", "reading"].includes(file.state);
    const pages = file.readings.length;
    row.name.title = file.name;
    row.item.className = `file ${file.state}`;
    row.choose.setAttribute("aria-current", String(isCurrent));
    setText(row.state, describeState(file));
    setText(row.cancel, say("cancel"));
    setText(row.retry, say("retry"));
    setText(row.remove, "×");
    row.cancel.hidden = !isBusy;
    row.retry.hidden = !["failed", "cancelled"].includes(file.state);
    row.remove.hidden = isBusy;
    row.progress.classList.toggle("off", file.state !== "reading");
    if (file.total > 1) {
      row.progress.max = file.total;
      row.progress.value = pages;
    } else row.progress.removeAttribute("value");
    row.progress.setAttribute("aria-label", describeState(file));
    for (const name of ["cancel", "retry", "remove"]) {
      row[name].setAttribute("aria-label", say(`${name}File`, { name: file.name }));
    }
  }
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Return how far a file is, in words. */
export function describeState(file) {
  const pages = file.readings.length;
  if (file.seconds) return say("busy", { count: file.seconds });
  if (file.state === "reading" && file.total) return say("readingOf", { count: pages, total: file.total });
  if (file.error) return say(file.error.key);
  return say(file.state, { count: pages });
}
