// A heat map on a canvas: one pixel for each number, which the style sheet stretches.
import { VIRIDIS } from "./colours.js";

const CALM = 0.04; // of the way that the ends of the scale move back in, with each picture

export class HeatMap {
  rows = 0;
  columns = 0;
  least = 0; // what the darkest colour stands for
  most = 1;
  #canvas;
  #numbers = null;
  #image = null;

  constructor(canvas) {
    this.#canvas = canvas;
  }

  /** Forget the picture and its scale. */
  clear() {
    this.#numbers = this.#image = null;
    this.rows = this.columns = 0;
    this.#canvas.width = this.#canvas.height = 1;
  }

  /** Draw an array of one or two dimensions; raises an Error with a text for people for any other. */
  draw({ shape, dtype, data }) {
    if (shape.length < 1 || shape.length > 2 || data.length === 0) {
      throw new Error(`An array of shape (${shape.join(", ")}) cannot be drawn: it takes one or two dimensions.`);
    }
    if (dtype.startsWith("complex")) throw new Error("Complex numbers cannot be drawn.");
    const [rows, columns] = shape.length === 2 ? shape : [1, shape[0]];
    const first = rows !== this.rows || columns !== this.columns;
    this.#numbers = typeof data[0] === "bigint" ? Float64Array.from(data, Number) : data;
    this.#scale(first);
    if (first) {
      Object.assign(this, { rows, columns });
      Object.assign(this.#canvas, { width: columns, height: rows });
      this.#image = new ImageData(columns, rows);
    }
    this.#paint();
  }

  /** The number in a cell, or undefined. */
  read(row, column) {
    return this.#numbers?.[row * this.columns + column];
  }

  /** The scale grows at once and shrinks slowly, so that colours keep their meaning between pictures. */
  #scale(first) {
    let [least, most] = [Infinity, -Infinity];
    for (const number of this.#numbers) {
      if (number < least) least = number;
      if (number > most) most = number;
    }
    if (least > most) [least, most] = [0, 1]; // nothing but NaN
    const ease = (present, target, grown) => (first || grown ? target : present + (target - present) * CALM);
    this.least = ease(this.least, least, least < this.least);
    this.most = ease(this.most, most, most > this.most);
  }

  #paint() {
    const pixels = new Uint32Array(this.#image.data.buffer);
    const factor = this.most > this.least ? 255 / (this.most - this.least) : 0;
    for (let i = 0; i < pixels.length; i++) {
      const number = this.#numbers[i];
      pixels[i] = Number.isNaN(number) ? 0 : VIRIDIS[Math.round((number - this.least) * factor)];
    }
    this.#canvas.getContext("2d").putImageData(this.#image, 0, 0);
  }
}

/** All colours of the scale, from left to right. */
export function drawColours(canvas) {
  const image = new ImageData(VIRIDIS.length, 1);
  new Uint32Array(image.data.buffer).set(VIRIDIS);
  canvas.width = VIRIDIS.length;
  canvas.getContext("2d").putImageData(image, 0, 0);
}
