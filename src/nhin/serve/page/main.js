/** Joins the parts of the page: files come in, are read in turn, shown, corrected, copied and downloaded. */

import { DetailView, describeChoice } from "./detail-view.js";
import { FileReading } from "./documents.js";
import { describeState, FileListView } from "./file-list.js";
import { listenForFiles } from "./inputs.js";
import { describeMissing, PictureView } from "./picture-view.js";
import { correct, splitCorrection, wordsOf, writePages } from "./readings.js";
import { explainError } from "./service.js";
import { makeElement, TextView } from "./text-view.js";
import { findLanguage, say, setLanguage, TEXTS } from "./texts.js";

const id = (name) => document.getElementById(name);
const SUFFIXES = { text: ".txt", markdown: ".md", json: ".jsonl", pdf: ".pdf" };
const TYPES = { text: "text/plain", markdown: "text/markdown", json: "application/jsonl" };
const TOAST_SECONDS = 6;

const files = [];
let current = null;
let choice = null; // { line, word } of the shown page
let shown = ""; // what text and picture show, so that they are not drawn again
let isReading = false;
let toastTimer = 0;

const picture = new PictureView((line, word) => choose(line, word, false));
const text = new TextView((line, word, isKey) => choose(line, word, isKey));
const detail = new DetailView(applyCorrection, () => closeDetail());
const list = new FileListView({
  select: (file) => select(file),
  cancel: (file) => {
    file.cancel();
    refresh();
  },
  retry: (file) => {
    file.reset();
    shown = "";
    readInTurn();
  },
  remove: (file) => removeFile(file),
});

function addFiles(added) {
  const options = { pages: id("pages").value.trim(), ocr: id("ocr").value };
  const fresh = added.map((file) => new FileReading(file, options));
  files.push(...fresh);
  if (fresh.length) select(fresh[0]);
  readInTurn();
}

async function readInTurn() {
  refresh();
  if (isReading) return;
  isReading = true;
  for (let file; (file = files.find((other) => other.state === "waiting")); ) {
    await file.read(refresh);
    if (file.state === "done") announce(say("doneFile", { name: file.name }));
    if (file.state === "failed") alertOf(file);
  }
  isReading = false;
}

function select(file) {
  current = file;
  closeDetail(false);
  if (!file?.isPicture) picture.fit(null);
  refresh();
}

function removeFile(file) {
  const at = files.indexOf(file);
  files.splice(at, 1);
  file.close();
  if (file === current) select(files[Math.min(at, files.length - 1)] ?? null);
  refresh();
  (id("file-list").querySelectorAll("button.choose")[at] ?? id("choose")).focus();
}

/** Bring everything up to date; what has not changed is left as it is. */
function refresh() {
  list.show(files, current);
  document.body.classList.toggle("started", files.length > 0);
  const reading = current?.readings[current.page];
  const number = current?.readings.length ?? 0;
  const isBusy = ["waiting", "reading"].includes(current?.state);
  id("previous").disabled = !current || current.page === 0;
  id("next").disabled = !current || current.page >= number - 1;
  const count = Math.max(number, current?.total ?? 0);
  id("page-number").textContent = number ? say("pageOf", { page: current.page + 1, count }) : "–";
  for (const button of document.querySelectorAll("#copy, [data-download]")) button.disabled = !number || isBusy;
  const key = `${current?.id} ${current?.page} ${Boolean(reading)} ${current?.state} ${document.documentElement.lang}`;
  if (key !== shown) {
    shown = key;
    showPage(reading);
  }
}

async function showPage(reading) {
  const file = current;
  showText(reading);
  showWarnings(reading);
  picture.show(reading, null, "", describeMissing(file));
  if (!file) return;
  let url = null;
  try {
    url = await file.picture(reading);
  } catch (why) {
    if (current === file) picture.show(reading, null, "", `${say("stageNoPicture")} ${why.line ?? ""}`);
    return;
  }
  if (current !== file || file.readings[file.page] !== reading) return;
  const label = say("pictureOf", { page: reading?.page ?? 1, name: file.name });
  picture.show(reading, url, label, describeMissing(file));
  if (choice) mark();
}

function showText(reading) {
  const corrections = current?.corrections[current.page] ?? new Map();
  const isBusy = ["waiting", "reading"].includes(current?.state);
  text.show(reading, corrections, reading ? say("textEmpty") : isBusy ? say("stageReading") : current ? describeState(current) : "");
}

function showWarnings(reading) {
  const warnings = [...(reading?.warnings ?? [])].map(({ code, message }) => {
    const item = makeElement("li", "", `warning-${code}` in TEXTS.en ? say(`warning-${code}`) : message);
    item.title = message;
    return item;
  });
  if (current?.error) {
    const item = makeElement("li", "error");
    item.append(makeSentence(say(current.error.key), current.error.line));
    warnings.unshift(item);
  }
  id("warnings").replaceChildren(...warnings);
  id("warnings").hidden = !warnings.length;
}

function turnPage(step) {
  current.page += step;
  closeDetail(false);
  refresh();
  const reading = current.readings[current.page];
  announce(say("pictureOf", { page: reading.page, name: current.name }));
}

/** Choose a word or a line of the shown page. */
async function choose(line, word, isKey) {
  choice = { line, word };
  mark();
  if (isKey) detail.focus();
  else announce(id("detail-title").textContent, false);
}

function mark() {
  const reading = current.readings[current.page];
  const image = id("page-picture");
  picture.select(choice.line, choice.word);
  text.select(choice.line, choice.word);
  detail.show({
    ...choice,
    reading,
    corrections: current.corrections[current.page],
    image: image.complete && image.naturalWidth ? image : null,
  });
}

function closeDetail(isFocused = true) {
  const before = choice;
  choice = null;
  picture.select(null);
  text.select(null);
  detail.close();
  if (before && isFocused) text.focus(before.line, before.word);
}

/** Give the chosen word or line another text; null takes corrections back. */
function applyCorrection({ line, word }, wanted) {
  const reading = current.readings[current.page];
  const corrections = current.corrections[current.page];
  const read = reading.lines[line].words.map((part) => part.text);
  let words = [...wordsOf(reading, corrections, line)];
  if (word === null) words = wanted === null ? read : splitCorrection(read, wanted);
  else words[word] = wanted ?? read[word];
  correct(reading, corrections, line, words);
  showText(reading);
  mark();
  announce(wanted === null ? say("undone") : say("saved", { text: wanted || say("deleted") }));
}

async function copyText() {
  const copied = writePages(current.corrected(), "text").replaceAll("\f", "\n");
  try {
    await navigator.clipboard.writeText(copied);
  } catch {
    if (!copyBySelection(copied)) return announce(say("copyFailed"));
  }
  return announce(say("copied"));
}

/** Copy where the page has no right to the clipboard, as without HTTPS. */
function copyBySelection(copied) {
  const area = makeElement("textarea", "hidden-copy");
  area.value = copied;
  document.body.append(area);
  area.select();
  const isCopied = document.execCommand("copy");
  area.remove();
  id("copy").focus();
  return isCopied;
}

async function download(format, button) {
  const file = current;
  const name = file.name.replace(/\.[^.]*$/, "") + SUFFIXES[format];
  if (format !== "pdf") return save(new Blob([writePages(file.corrected(), format)], { type: `${TYPES[format]};charset=utf-8` }), name);
  button.setAttribute("aria-disabled", "true");
  announce(say("makingPdf"));
  try {
    save(await file.makePdf({ onWait: (count) => count && announce(say("busy", { count }), false) }), name);
    if (file.isCorrected()) announce(say("pdfWithoutCorrections"));
  } catch (why) {
    alertText(say(explainError(why)), why.line);
  }
  return button.removeAttribute("aria-disabled");
}

function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  announce(say("downloaded", { name }));
}

/** Say something to everybody; what is seen elsewhere is only spoken. */
function announce(sentence, isSeen = true) {
  id("status").textContent = sentence;
  id("status").classList.toggle("seen", isSeen);
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => id("status").classList.remove("seen"), TOAST_SECONDS * 1000);
}

function makeSentence(sentence, line) {
  const out = makeElement("span", "", line ? `${sentence} ` : sentence);
  const said = makeElement("span", "", line);
  said.lang = "en";
  out.append(said);
  return out;
}

function alertOf(file) {
  alertText(`${file.name}: ${say(file.error.key)}`, file.error.line);
}

/** Interrupt with a sentence, and with what the service said, which is English. */
function alertText(sentence, line = "") {
  const note = makeElement("p", "", "");
  note.append(makeSentence(sentence, line));
  const button = makeElement("button", "small", "×");
  button.type = "button";
  button.setAttribute("aria-label", say("close"));
  button.addEventListener("click", () => note.remove());
  note.append(button);
  id("alerts").replaceChildren(note);
}

function changeLanguage(name, isChoice) {
  setLanguage(name, isChoice);
  refresh();
  if (choice) mark();
}

listenForFiles(addFiles, () => alertText(say("notFile")));
id("previous").addEventListener("click", () => turnPage(-1));
id("next").addEventListener("click", () => turnPage(1));
id("copy").addEventListener("click", copyText);
for (const button of document.querySelectorAll("[data-download]")) {
  button.addEventListener("click", () => {
    if (button.getAttribute("aria-disabled") !== "true") download(button.dataset.download, button);
  });
}
for (const button of document.querySelectorAll("[data-language]")) {
  button.addEventListener("click", () => changeLanguage(button.dataset.language, true));
}
id("page-picture").addEventListener("load", (event) => {
  const { naturalWidth, naturalHeight } = event.target;
  if (current?.isPicture) picture.fit(naturalWidth / naturalHeight);
  if (choice) mark();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && detail.isOpen) closeDetail();
});
changeLanguage(findLanguage(), false);
document.body.classList.remove("loading");
