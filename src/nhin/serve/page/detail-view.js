/** What is known of the chosen word or line: its picture, letters, other texts; and a form that corrects it. */

import { drawCrop } from "./crops.js";
import { LookView } from "./look-view.js";
import { alternativesOfWord, charsOfWords, lineText, wordsOf } from "./readings.js";
import { makeElement } from "./text-view.js";
import { formatPercent, say } from "./texts.js";

const id = (name) => document.getElementById(name);

export class DetailView {
  /** `onCorrect(choice, text)`, text null to undo; `onClose()`. */
  constructor(onCorrect, onClose) {
    this.root = id("detail");
    this.crop = id("crop");
    this.input = id("correction");
    this.look = new LookView();
    this.choice = null;
    id("correct-form").addEventListener("submit", (event) => {
      event.preventDefault();
      onCorrect(this.choice, this.input.value.normalize("NFC").trim().replace(/\s+/g, " "));
    });
    id("undo").addEventListener("click", () => onCorrect(this.choice, null));
    id("close").addEventListener("click", onClose);
    id("alternatives").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) onCorrect(this.choice, button.dataset.other);
    });
  }

  get isOpen() {
    return !this.root.hidden;
  }

  close() {
    this.root.hidden = true;
    this.choice = null;
    this.look.clear();
    document.body.classList.remove("detailed");
  }

  focus() {
    id("detail-title").focus();
  }

  /** Show a choice: reading, corrections, line, word (null for the line), image of the page or null. */
  show(choice) {
    const { reading, corrections, line: number, word: place, image } = choice;
    const line = reading.lines[number];
    const part = place === null ? line : line.words[place];
    const text = place === null ? lineText(reading, corrections, number) : wordsOf(reading, corrections, number)[place];
    const isCorrected = text !== part.text;
    this.choice = choice;
    this.root.hidden = false;
    document.body.classList.add("detailed");
    id("detail-title").textContent = describeChoice(part, text, place);
    this.input.value = text;
    id("undo").disabled = !isCorrected;
    this.showCrop(part, image, reading.width);
    this.showAlternatives(place === null ? line.alternatives : alternativesOfWord(line, place), text);
    this.showLetters(place === null ? line.chars : charsOfWords(line)[place]);
    this.look.offer(choice, part);
  }

  showCrop(part, image, width) {
    this.crop.hidden = !image;
    if (image) drawCrop(this.crop, image, part.box, width);
    this.crop.setAttribute("aria-label", say("cropOf", { text: part.text }));
  }

  showAlternatives(alternatives, text) {
    const others = alternatives.filter((other) => other.text !== text);
    id("alternatives-part").hidden = !others.length;
    id("alternatives").replaceChildren(
      ...others.map((other) => {
        const button = makeElement("button", "other", other.text || say("deleted"));
        button.type = "button";
        button.dataset.other = other.text;
        button.append(" ", makeElement("small", "", formatPercent(other.probability)));
        return button;
      }),
    );
  }

  showLetters(chars) {
    id("letters-part").hidden = !chars.length;
    id("letters").replaceChildren(
      ...chars.map((char) => {
        const item = makeElement("li", char.confidence < 0.8 ? "unsure" : "");
        const bar = makeElement("span", "level");
        bar.style.setProperty("--level", char.confidence);
        const letter = makeElement("b", "", char.text === " " ? "␣" : char.text);
        item.append(letter, bar, makeElement("small", "", formatPercent(char.confidence)));
        return item;
      }),
    );
  }
}

/** Return a title for a part of a page: what it is, its text, how sure it is. */
export function describeChoice(part, text, place) {
  const kind = place === null ? "line" : "word";
  if (text !== part.text) return say(`${kind}Corrected`, { text: text || say("deleted") });
  return say(kind, { text, percent: formatPercent(part.confidence) });
}
