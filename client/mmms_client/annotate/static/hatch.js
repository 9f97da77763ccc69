/** Patterns that tell surfaces apart without colour. They keep their size on the screen. */

const SIDE = 12;

/** @type {((c: OffscreenCanvasRenderingContext2D) => void)[]} */
const DRAWINGS = [
  (c) => lines(c, [[-2, 2, 2, -2], [0, SIDE, SIDE, 0], [SIDE - 2, SIDE + 2, SIDE + 2, SIDE - 2]]),
  (c) => dots(c, [[3, 3], [9, 9]], 1.3),
  (c) => lines(c, [[0, 6, SIDE, 6]]),
  (c) => lines(c, [[-2, SIDE - 2, 2, SIDE + 2], [0, 0, SIDE, SIDE], [SIDE - 2, -2, SIDE + 2, 2]]),
  (c) => lines(c, [[6, 0, 6, SIDE]]),
  (c) => lines(c, [[3, 6, 9, 6], [6, 3, 6, 9]]),
  (c) => lines(c, [[0, 0, SIDE, SIDE], [0, SIDE, SIDE, 0]]),
];

/** @param {OffscreenCanvasRenderingContext2D} c @param {number[][]} list */
function lines(c, list) {
  c.beginPath();
  for (const [x0, y0, x1, y1] of list) {
    c.moveTo(x0, y0);
    c.lineTo(x1, y1);
  }
  c.stroke();
}

/** @param {OffscreenCanvasRenderingContext2D} c @param {number[][]} list @param {number} radius */
function dots(c, list, radius) {
  for (const [x, y] of list) {
    c.beginPath();
    c.arc(x, y, radius, 0, 7);
    c.fill();
  }
}

/** @type {Map<string, CanvasPattern>} */
const cache = new Map();

/**
 * @param {CanvasRenderingContext2D} context @param {number} index @param {string} colour
 * @param {number} scale of the context, so that the pattern can undo it
 */
export function hatch(context, index, colour, scale) {
  const kind = index % DRAWINGS.length;
  const key = `${kind} ${colour}`;
  let pattern = cache.get(key);
  if (!pattern) {
    const canvas = new OffscreenCanvas(SIDE, SIDE);
    const c = /** @type {OffscreenCanvasRenderingContext2D} */ (canvas.getContext("2d"));
    c.strokeStyle = c.fillStyle = colour;
    c.lineWidth = 1.2;
    DRAWINGS[kind](c);
    pattern = /** @type {CanvasPattern} */ (context.createPattern(canvas, "repeat"));
    cache.set(key, pattern);
  }
  pattern.setTransform(new DOMMatrix().scale(1 / scale));
  return pattern;
}
