/** The picture of a word or a line, cut out of a page upright, and the tint of where a network looked. */

const MAX_HEIGHT = 96;
const MAX_WIDTH = 4000;
const ROOM = 0.15; // before and after the text, in its heights: the edges of letters are estimates

/**
 * Draw the upright picture of a box into a canvas.
 *
 * @param canvas Its size becomes that of the picture.
 * @param image Of the page, loaded.
 * @param box Four corners in pixels of the reading, clockwise from the top left of the text.
 * @param width Of the page in those pixels; the picture may have another width.
 */
export function drawCrop(canvas, image, box, width) {
  const scale = image.naturalWidth / width;
  const [[x, y], [endX, endY], , [lowX, lowY]] = box.map(([px, py]) => [px * scale, py * scale]);
  const [wide, high] = [Math.hypot(endX - x, endY - y) || 1, Math.hypot(lowX - x, lowY - y) || 1];
  const room = ROOM * high;
  const shrink = Math.min(1, MAX_HEIGHT / high, MAX_WIDTH / (wide + 2 * room));
  canvas.width = Math.max(1, Math.round((wide + 2 * room) * shrink));
  canvas.height = Math.max(1, Math.round(high * shrink));
  const context = canvas.getContext("2d");
  // The text's own axes in the picture, then the inverse.
  const [right, down] = [[(endX - x) / wide, (endY - y) / wide], [(lowX - x) / high, (lowY - y) / high]];
  const axes = new DOMMatrix([...right, ...down, x - right[0] * room, y - right[1] * room]);
  axes.scaleSelf(1 / shrink);
  const { a, b, c, d, e, f } = axes.inverse();
  context.setTransform(a, b, c, d, e, f);
  context.drawImage(image, 0, 0);
}

/** Return a canvas as a PNG file. */
export function toPng(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
