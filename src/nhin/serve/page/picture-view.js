/** The picture of a page, with the boxes of its words and lines over it. */

import { say } from "./texts.js";

const SVG = "http://www.w3.org/2000/svg";
const ZOOMS = [1, 1.5, 2, 3, 4, 6];
const REACH = 22; // pixels of the screen around a box in which a tap still means it
const UNSURE = 0.8;

export class PictureView {
  /** `onPick(line, word)` is called for a click on a box; `word` is null for a line. */
  constructor(onPick) {
    this.onPick = onPick;
    this.stage = document.getElementById("stage");
    this.sheet = document.getElementById("sheet");
    this.image = document.getElementById("page-picture");
    this.svg = document.getElementById("boxes");
    this.empty = document.getElementById("stage-empty");
    this.zoom = 0;
    this.kind = "word";
    this.reading = null;
    this.svg.addEventListener("click", (event) => this.pick(event));
    document.getElementById("zoom-in").addEventListener("click", () => this.setZoom(this.zoom + 1));
    document.getElementById("zoom-out").addEventListener("click", () => this.setZoom(this.zoom - 1));
    for (const button of document.querySelectorAll("[data-boxes]")) {
      button.addEventListener("click", () => this.setKind(button.dataset.boxes));
    }
    this.setZoom(0);
  }

  /** Show a page: its picture (an address, or null until there is one), its boxes, a text for blind people. */
  show(reading, url, label, message) {
    this.reading = reading?.width ? reading : null;
    this.sheet.hidden = !url;
    this.empty.hidden = Boolean(url);
    this.empty.textContent = message;
    if (url && this.image.getAttribute("src") !== url) this.image.src = url;
    if (!url) this.image.removeAttribute("src");
    this.image.alt = label;
    if (this.reading) {
      this.image.width = reading.width;
      this.image.height = reading.height;
    } else {
      this.image.removeAttribute("width");
      this.image.removeAttribute("height");
    }
    this.drawBoxes();
  }

  /** Give the place of the picture its shape (width over height) where there is room; null for that of a page. */
  fit(shape) {
    if (shape) this.stage.style.setProperty("--shape", shape);
    else this.stage.style.removeProperty("--shape");
  }

  drawBoxes() {
    this.svg.replaceChildren();
    if (!this.reading) return;
    this.svg.setAttribute("viewBox", `0 0 ${this.reading.width} ${this.reading.height}`);
    this.reading.lines.forEach((line, number) => {
      this.svg.append(makePolygon(line, number, null));
      line.words.forEach((word, place) => this.svg.append(makePolygon(word, number, place)));
    });
    this.setKind(this.kind);
  }

  /** Show boxes of words or of lines. */
  setKind(kind) {
    this.kind = kind;
    this.svg.setAttribute("class", kind);
    for (const button of document.querySelectorAll("[data-boxes]")) {
      button.setAttribute("aria-pressed", String(button.dataset.boxes === kind));
    }
  }

  setZoom(level) {
    const { stage } = this;
    const before = ZOOMS[this.zoom];
    this.zoom = Math.max(0, Math.min(ZOOMS.length - 1, level));
    const ratio = ZOOMS[this.zoom] / before;
    const [x, y] = [stage.scrollLeft + stage.clientWidth / 2, stage.scrollTop + stage.clientHeight / 2];
    this.sheet.style.setProperty("width", `${ZOOMS[this.zoom] * 100}%`);
    stage.scrollLeft = x * ratio - stage.clientWidth / 2;
    stage.scrollTop = y * ratio - stage.clientHeight / 2;
    document.getElementById("zoom-in").disabled = this.zoom === ZOOMS.length - 1;
    document.getElementById("zoom-out").disabled = this.zoom === 0;
  }

  /** Mark a word, a line (`word` null) or nothing (`line` null), and bring it into sight. */
  select(line, word) {
    for (const polygon of this.svg.querySelectorAll(".selected")) polygon.classList.remove("selected");
    if (line === null || !this.reading) return;
    const wanted = `[data-line="${line}"]${word === null ? ":not([data-word])" : `[data-word="${word}"]`}`;
    const polygon = this.svg.querySelector(wanted);
    if (!polygon) return;
    polygon.classList.add("selected");
    this.svg.append(polygon); // drawn last, above its neighbors
    const [box, seen] = [polygon.getBoundingClientRect(), this.stage.getBoundingClientRect()];
    if (box.top < seen.top || box.bottom > seen.bottom) {
      this.stage.scrollTop += (box.top + box.bottom - seen.top - seen.bottom) / 2;
    }
    if (box.left < seen.left || box.right > seen.right) {
      this.stage.scrollLeft += (box.left + box.right - seen.left - seen.right) / 2;
    }
  }

  pick(event) {
    const matrix = this.svg.getScreenCTM();
    if (!matrix || !this.reading) return;
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    const reach = REACH / matrix.a;
    let best = null;
    this.reading.lines.forEach((line, number) => {
      const parts = this.kind === "line" ? [line] : line.words;
      parts.forEach((part, place) => {
        const distance = measureDistance(part.box, point);
        if (distance <= reach && (!best || distance < best.distance)) {
          best = { distance, number, place: this.kind === "line" ? null : place };
        }
      });
    });
    if (best) this.onPick(best.number, best.place);
  }
}

/** Return whether a word or a line deserves a second look. */
export function isUnsure(part) {
  return part.confidence < UNSURE;
}

function makePolygon(part, line, word) {
  const polygon = document.createElementNS(SVG, "polygon");
  polygon.setAttribute("points", part.box.map((point) => point.join(",")).join(" "));
  polygon.setAttribute("vector-effect", "non-scaling-stroke");
  polygon.setAttribute("class", `${word === null ? "of-line" : "of-word"}${isUnsure(part) ? " unsure" : ""}`);
  polygon.dataset.line = line;
  if (word !== null) polygon.dataset.word = word;
  return polygon;
}

/** Return how far a point is from a box, 0 inside, with a little more for a box whose middle is far. */
function measureDistance(box, { x, y }) {
  let isInside = true;
  let nearest = Infinity;
  box.forEach(([ax, ay], i) => {
    const [bx, by] = box[(i + 1) % 4];
    if ((bx - ax) * (y - ay) - (by - ay) * (x - ax) < 0) isInside = false;
    const length = (bx - ax) ** 2 + (by - ay) ** 2 || 1;
    const share = Math.max(0, Math.min(1, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length));
    nearest = Math.min(nearest, Math.hypot(x - ax - share * (bx - ax), y - ay - share * (by - ay)));
  });
  return isInside ? 0 : nearest;
}

/** Return the text that stands where a page's picture is not yet. */
export function describeMissing(file) {
  if (!file) return say("stageEmpty");
  return say(["waiting", "reading"].includes(file.state) ? "stageReading" : "stageNoPicture");
}
