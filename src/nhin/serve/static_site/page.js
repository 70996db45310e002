// The page: takes pictures, has the worker read them one by one, shows the text and where it stands.
import { TEXTS } from "./texts.js";

const find = (selector, within = document) => within.querySelector(selector);
const jobs = [];
let language = navigator.language.startsWith("vi") ? "vi" : "en";
let state = { step: "runtime" };

// Made from a blob, because only such a worker inherits the content security policy of the page.
const code = `import ${JSON.stringify(new URL("worker.js", import.meta.url).href)};`;
const worker = new Worker(URL.createObjectURL(new Blob([code], { type: "text/javascript" })), { type: "module" });
worker.onmessage = ({ data }) => {
  if ("id" in data) Object.assign(jobs[data.id], data);
  else state = data;
  show();
};
worker.onerror = (event) => {
  state = { failure: event.message || "worker.js" };
  show();
};

function add(files) {
  for (const file of files) {
    const id = jobs.length;
    const view = find("#reading").content.cloneNode(true).firstElementChild;
    jobs.push({ name: file.name, view });
    find("#readings").prepend(view);
    const picture = find("img", view);
    picture.onerror = () => picture.removeAttribute("src"); // such as a TIFF: the boxes stand alone
    picture.src = URL.createObjectURL(file);
    find(".copy", view).onclick = () => copy(id);
    find(".download", view).onclick = () => download(id);
    worker.postMessage({ id, file });
  }
  show();
}

function show() {
  const texts = TEXTS[language];
  document.documentElement.lang = language;
  find("#no-server").hidden = true;
  find("#input").hidden = false;
  find("#language").hidden = false;
  find("#language").textContent = texts.other;
  find("#language").lang = language === "vi" ? "en" : "vi";
  for (const part of document.querySelectorAll("[data-text]")) part.textContent = texts[part.dataset.text];
  find("#status").textContent = texts[state.step] || texts[state.failure] || texts.failed + state.failure;
  find("#status").classList.toggle("wrong", "failure" in state);
  jobs.forEach((job) => showJob(job, texts));
}

function showJob({ name, view, reading, started, seconds }, texts) {
  const { lines = [], text = "", warnings = [], error } = reading || {};
  find("h2", view).textContent = name;
  const done = lines.length ? texts.done : texts.empty;
  const message = reading ? done : texts[started ? "read" : "wait"];
  const count = { count: lines.length, seconds: (seconds || 0).toFixed(1) };
  find(".state", view).textContent = error ? texts[error] || texts.refused + error : message.replace(/{(\w+)}/g, (_, key) => count[key]);
  find(".state", view).classList.toggle("wrong", Boolean(error));
  find(".result", view).hidden = !lines.length;
  find(".copy", view).textContent = texts.copy;
  find(".download", view).textContent = texts.download;
  find("textarea", view).ariaLabel = texts.text;
  find("textarea", view).value = text;
  const notes = warnings.map((warning) => {
    const note = document.createElement("li");
    note.textContent = texts[warning.code] || warning.message;
    return note;
  });
  find(".warnings", view).replaceChildren(...notes);
  if (lines.length) drawBoxes(find("svg", view), reading);
}

function drawBoxes(drawing, { width, height, lines }) {
  drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
  drawing.parentElement.style.aspectRatio = `${width} / ${height}`;
  const boxes = lines.map((line) => {
    const box = document.createElementNS("http://www.w3.org/2000/svg", "polygon");
    box.setAttribute("points", line.box.join(" "));
    return box;
  });
  drawing.replaceChildren(...boxes);
}

function copy(id) {
  find("textarea", jobs[id].view).select();
  // Not navigator.clipboard: a page without encryption has none.
  if (document.execCommand("copy")) find(".copy", jobs[id].view).textContent = TEXTS[language].copied;
}

function download(id) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${jobs[id].reading.text}\n`], { type: "text/plain" }));
  link.download = `${jobs[id].name.replace(/\.\w+$/, "")}.txt`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href));
}

find("#file").onchange = ({ target }) => {
  add(target.files);
  target.value = "";
};
document.onpaste = (event) => add(event.clipboardData.files);
document.ondragover = (event) => {
  event.preventDefault();
  document.body.classList.add("drag");
};
document.ondragleave = () => document.body.classList.remove("drag");
document.ondrop = (event) => {
  event.preventDefault();
  document.body.classList.remove("drag");
  add(event.dataTransfer.files);
};
find("#language").onclick = () => {
  language = language === "vi" ? "en" : "vi";
  show();
};
show();
