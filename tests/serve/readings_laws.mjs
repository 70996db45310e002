// Reads pages from standard input, one in a line; checks the laws of corrections, and writes the pages as nhin's formats.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const load = (path) => import(`data:text/javascript,${encodeURIComponent(readFileSync(path, "utf8"))}`);
const [, , readingsPath] = process.argv;
const { applyCorrections, alternativesOfWord, charsOfWords, correct, lineText, splitCorrection, writePages } =
  await load(readingsPath);
const pages = readFileSync(0, "utf8").split("\n").filter((line) => line).map((line) => JSON.parse(line));

const words = ["một", "hai", "ba"];
const texts = ["", "một", "ba", "hai ba", "một hai ba", "một hai bốn", "một và hai ba", "x y z", "một hai ba bốn", "không một hai ba", "một ba", "a b c d e f"];
for (const text of texts) {
  const split = splitCorrection(words, text);
  assert.equal(split.length, words.length);
  assert.equal(split.filter((word) => word).join(" "), text);
}
assert.deepEqual(splitCorrection(words, "một bốn ba"), ["một", "bốn", "ba"]);
assert.deepEqual(splitCorrection(words, "một ba"), ["một", "", "ba"]);
assert.deepEqual(splitCorrection(words, "một hai rưỡi ba"), ["một", "hai rưỡi", "ba"]);

for (const page of pages) {
  for (const [number, line] of page.lines.entries()) {
    const read = line.words.map((word) => word.text);
    const changed = read.map((_, i) => ["sửa", "", "hai chữ"][i % 3]);
    const corrections = new Map();
    correct(page, corrections, number, read);
    assert.equal(corrections.size, 0);
    assert.equal(applyCorrections(page, corrections), page);
    correct(page, corrections, number, changed);
    const corrected = applyCorrections(page, corrections);
    const { text, chars, words: own, confidence } = corrected.lines[number];
    assert.equal(text, changed.filter((word) => word).join(" "));
    assert.equal(text, lineText(page, corrections, number));
    assert.equal(chars.map((char) => char.text).join(""), text);
    assert.equal(own.map((word) => word.text).join(" "), text);
    assert.ok(charsOfWords(corrected.lines[number]).every((group) => group.length));
    assert.equal(confidence, 1);
    assert.ok(corrected.text.includes(text));
    corrected.lines.forEach((other, i) => i === number || assert.deepEqual(other, page.lines[i]));
    for (const part of [...chars, ...own]) assert.equal(part.box.flat().filter(Number.isFinite).length, 8);
  }
}
const line = { text: "một hai", words: [{ text: "một" }, { text: "hai" }], alternatives: [
  { text: "một hái", probability: 0.25 }, { text: "mốt hái", probability: 0.5 }] };
assert.deepEqual(alternativesOfWord(line, 1), [{ text: "hái", probability: 0.75 }]);
assert.deepEqual(alternativesOfWord(line, 0), [{ text: "mốt", probability: 0.5 }]);

const formats = ["text", "markdown", "json"].map((format) => [format, writePages(pages, format)]);
process.stdout.write(JSON.stringify(Object.fromEntries(formats)));
