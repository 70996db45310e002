/**
 * Readings as JSON (`reading.schema.json`), corrections of them, and files made of them; no browser needed.
 *
 * A correction is a Map from the number of a line to the texts of its words; an empty text deletes a word.
 */

/** Return the texts of a line's words as they were read, or as they were corrected. */
export function wordsOf(reading, corrections, number) {
  return corrections.get(number) ?? reading.lines[number].words.map((word) => word.text);
}

/** Return the text of a line with its corrections. */
export function lineText(reading, corrections, number) {
  return corrections.has(number) ? joinWords(corrections.get(number)) : reading.lines[number].text;
}

function joinWords(words) {
  return words.filter((word) => word !== "").join(" ");
}

/** Return the texts of a line's words after the whole line was given another text. */
export function splitCorrection(words, text) {
  const wanted = text.split(/\s+/).filter((word) => word !== "");
  if (wanted.length === words.length) return wanted;
  let start = 0;
  while (start < Math.min(words.length, wanted.length) && words[start] === wanted[start]) start += 1;
  let end = 0;
  const room = Math.min(words.length, wanted.length) - start;
  while (end < room && words.at(-1 - end) === wanted.at(-1 - end)) end += 1;
  // What lies between goes to one word: where there is none, to the last that is equal.
  if (start + end === words.length) {
    if (start) start -= 1;
    else end -= 1;
  }
  const between = words.slice(start, words.length - end).map(() => "");
  between[0] = wanted.slice(start, wanted.length - end).join(" ");
  return [...words.slice(0, start), ...between, ...(end ? words.slice(-end) : [])];
}

/** Note a correction; one that gives a line the text that was read is taken back. */
export function correct(reading, corrections, number, words) {
  const read = reading.lines[number].words;
  if (words.every((word, i) => word === read[i].text)) corrections.delete(number);
  else corrections.set(number, words);
}

/** Return the characters of each word of a line; none where the line does not have them. */
export function charsOfWords(line) {
  const groups = line.words.map(() => []);
  if (line.chars.map((char) => char.text).join("") !== line.text) return groups;
  let word = -1;
  let isSpace = true;
  for (const char of line.chars) {
    const wasSpace = isSpace;
    isSpace = /^\s$/.test(char.text);
    if (isSpace) continue;
    if (wasSpace) word += 1;
    groups[word]?.push(char);
  }
  return groups;
}

/** Return other texts that a word may have, with their probabilities: those of its line that differ there. */
export function alternativesOfWord(line, number) {
  const words = line.words.map((word) => word.text);
  const found = new Map();
  for (const { text, probability } of line.alternatives) {
    const other = splitCorrection(words, text)[number];
    if (other !== words[number]) found.set(other, (found.get(other) ?? 0) + probability);
  }
  return [...found].map(([text, probability]) => ({ text, probability }));
}

/** Return a reading as if its corrections had been read, with confidence 1. */
export function applyCorrections(reading, corrections) {
  if (!corrections.size) return reading;
  const lines = reading.lines.map((line, i) => (corrections.has(i) ? correctLine(line, corrections.get(i)) : line));
  const out = { ...reading, lines };
  out.text = replaceLines(reading, lines);
  const letters = lines.reduce((sum, line) => sum + [...line.text].length, 0);
  const sure = lines.reduce((sum, line) => sum + line.confidence * [...line.text].length, 0);
  out.confidence = letters ? Math.round((sure / letters) * 1e4) / 1e4 : 0;
  return out;
}

/** Return the text of a page whose lines were given other texts; a row of which nothing is left goes. */
function replaceLines(reading, lines) {
  let text = "";
  let at = 0;
  reading.lines.forEach((line, i) => {
    const found = reading.text.indexOf(line.text, at);
    if (found < 0) return;
    text += reading.text.slice(at, found) + lines[i].text;
    at = found + line.text.length;
  });
  const rows = (text + reading.text.slice(at)).split("\n");
  return rows.map((row) => row.replace(/\t+$/, "")).filter((row) => row !== "").join("\n");
}

function correctLine(line, texts) {
  const own = charsOfWords(line);
  const kept = [];
  const chars = [];
  line.words.forEach((word, i) => {
    if (texts[i] === "") return;
    const isKept = texts[i] === word.text && own[i].length;
    if (kept.length) {
      const box = boxBetween(kept.at(-1).box, word.box);
      chars.push({ text: " ", confidence: 1, box });
    }
    chars.push(...(isKept ? own[i] : spread(texts[i], word.box)));
    kept.push(isKept ? word : { ...word, text: texts[i], confidence: 1 });
  });
  const words = kept.flatMap((word) => (word.text.includes(" ") ? spreadWords(word) : [word]));
  return { ...line, text: joinWords(texts), confidence: 1, chars, words, alternatives: [] };
}

/** Return the words of a text with spaces that stands in the box of one word. */
function spreadWords(word) {
  const chars = spread(word.text, word.box);
  const groups = charsOfWords({ words: word.text.split(" "), text: word.text, chars });
  return groups.map((own) => ({
    text: own.map((char) => char.text).join(""),
    confidence: 1,
    box: [own[0].box[0], own.at(-1).box[1], own.at(-1).box[2], own[0].box[3]],
  }));
}

function boxBetween(before, after) {
  return [before[1], after[0], after[3], before[2]];
}

function spread(text, box) {
  const letters = [...text];
  const [first, second, third, fourth] = box;
  const between = (a, b, share) => [0, 1].map((axis) => Math.round((a[axis] + (b[axis] - a[axis]) * share) * 1e4) / 1e4);
  return letters.map((letter, i) => {
    const [left, right] = [i / letters.length, (i + 1) / letters.length];
    const corners = [between(first, second, left), between(first, second, right)];
    return { text: letter, confidence: 1, box: [...corners, between(fourth, third, right), between(fourth, third, left)] };
  });
}

/** Return the cells of each row of a block, as texts. */
function cellsOf(reading, block) {
  const rows = block.rows ?? block.lines.map((number) => [[number]]);
  return rows.map((row) => row.map((cell) => cell.map((number) => reading.lines[number].text).join(" ")));
}

/** Return a page as nhin's format `text`. */
export function toText(reading) {
  return reading.lines.length ? `${reading.text}\n` : "";
}

/** Return a page as nhin's format `markdown`. */
export function toMarkdown(reading) {
  return reading.blocks.map((block) => formatBlock(reading, block)).join("\n");
}

function formatBlock(reading, block) {
  const rows = cellsOf(reading, block);
  if (block.kind !== "table") {
    const words = escapeMarkdown(rows.map((row) => row.join(" ")).join(" "));
    return `${block.level ? `${"#".repeat(block.level)} ` : ""}${words}\n`;
  }
  const [head, ...others] = rows.map((row) => `| ${row.map(escapeMarkdown).join(" | ")} |\n`);
  return `${head}|${" --- |".repeat(rows[0].length)}\n${others.join("")}`;
}

function escapeMarkdown(text) {
  const plain = text.split(/\s+/).filter((word) => word !== "").join(" ");
  const escaped = plain.replace(/[\\`*_[\]<>&~|]|#(?=[#\s]|$)/g, "\\$&");
  return escaped.replace(/^(\d{1,9}(?=[.)](\s|$))|(?=[-+](\s|$))|(?=-[-\s]*$))/, "$1\\");
}

const PAGE_BREAKS = { text: "\f", markdown: "\n---\n\n", json: "" };
const WRITERS = { text: toText, markdown: toMarkdown, json: (reading) => `${JSON.stringify(reading)}\n` };

/** Return pages as one file of format `text`, `markdown` or `json`. */
export function writePages(readings, format) {
  return readings.map(WRITERS[format]).join(PAGE_BREAKS[format]);
}
