/** Where the decoder looked: for each letter the picture of the word or line, tinted by its attention. */

import { drawCrop, toPng } from "./crops.js";
import { fetchLook } from "./service.js";
import { makeElement } from "./text-view.js";
import { say } from "./texts.js";

const TINT = [214, 26, 64];
const OPACITY = 0.8;
const FADE = 0.45; // of the picture under the tint

export class LookView {
  constructor() {
    this.part = document.getElementById("look-part");
    this.button = document.getElementById("look");
    this.state = document.getElementById("look-state");
    this.strips = document.getElementById("strips");
    this.isMissing = false; // the service does not have it
    this.button.addEventListener("click", () => this.run());
  }

  clear() {
    this.stop?.abort();
    this.wanted = null;
    this.state.textContent = "";
    this.strips.replaceChildren();
  }

  /** Offer to look at a word or line of a choice; a text layer was not looked at. */
  offer(choice, part) {
    this.clear();
    this.wanted = { choice, part };
    this.part.hidden = this.isMissing || !choice.image || choice.reading.source !== "picture";
  }

  async run() {
    const { choice, part } = this.wanted;
    this.stop?.abort();
    this.stop = new AbortController();
    const { signal } = this.stop;
    const crop = document.createElement("canvas");
    drawCrop(crop, choice.image, part.box, choice.reading.width);
    this.state.textContent = say("looking");
    try {
      const answer = await fetchLook(await toPng(crop), part.text, {
        signal,
        onWait: (count) => {
          this.state.textContent = say(count ? "busy" : "looking", { count });
        },
      });
      this.strips.replaceChildren(...answer.parts.flatMap((found) => drawPart(crop, found)));
      this.state.textContent = say("looked");
    } catch (why) {
      if (signal.aborted) return;
      this.isMissing = why.status === 404;
      this.part.hidden = this.isMissing;
      this.state.textContent = say("lookFailed", { line: why.line || say("errorServer") });
    }
  }
}

/** Return a list item for each letter of a part: left and right of it in the crop (0 to 1), weights. */
function drawPart(crop, { text, left, right, rows, weights }) {
  const largest = Math.max(...weights.flat()) || 1;
  const labels = [...text, null];
  return labels.map((letter, i) => {
    const item = makeElement("li", "");
    const label = letter === null ? say("lookEnd") : letter === " " ? say("lookSpace") : letter;
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    drawStrip(canvas, crop, { left, right, rows, weights: weights[i].map((weight) => weight / largest) });
    item.append(makeElement("b", letter?.trim() ? "" : "small", label), canvas);
    return item;
  });
}

function drawStrip(canvas, crop, { left, right, rows, weights }) {
  const [start, wide] = [left * crop.width, (right - left) * crop.width];
  canvas.width = Math.max(1, Math.round(wide));
  canvas.height = crop.height;
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.globalAlpha = FADE;
  context.filter = "grayscale(1)";
  context.drawImage(crop, start, 0, wide, crop.height, 0, 0, canvas.width, canvas.height);
  context.globalAlpha = 1;
  context.filter = "none";
  const columns = weights.length / rows;
  weights.forEach((weight, i) => {
    const [row, column] = [Math.floor(i / columns), i % columns];
    context.fillStyle = `rgba(${TINT.join(",")},${OPACITY * weight})`;
    const [x, y] = [(column * canvas.width) / columns, (row * canvas.height) / rows];
    context.fillRect(x, y, canvas.width / columns, canvas.height / rows);
  });
}
