// Reading single numbers off a heat map, with the pointer or with the arrow keys.
import { byId } from "./elements.js";

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class CellReader {
  #map;
  #format;
  #cell = null; // [row, column]
  #canvas = byId("heatmap");
  #spot = byId("spot");
  #reading = byId("reading");

  constructor(map, format) {
    this.#map = map;
    this.#format = format;
    this.#canvas.addEventListener("pointermove", (event) => this.#follow(event));
    this.#canvas.addEventListener("pointerdown", (event) => this.#follow(event));
    this.#canvas.addEventListener("pointerleave", () => this.hide());
    this.#canvas.addEventListener("keydown", (event) => this.#step(event));
    this.#canvas.addEventListener("blur", () => this.hide());
  }

  hide() {
    this.#cell = null;
    this.update();
  }

  /** Show the number that is in the cell now. */
  update() {
    const value = this.#cell && this.#map.read(...this.#cell);
    this.#spot.hidden = this.#reading.hidden = value == null;
    if (value == null) return;
    const [row, column] = this.#cell;
    const { clientWidth: width, clientHeight: height } = this.#canvas;
    const [cellWidth, cellHeight] = [width / this.#map.columns, height / this.#map.rows];
    place(this.#spot, column * cellWidth, row * cellHeight);
    Object.assign(this.#spot.style, { width: `${Math.max(cellWidth, 3)}px`, height: `${Math.max(cellHeight, 3)}px` });
    const [figure, where] = this.#reading.children;
    figure.textContent = this.#format(Number(value));
    where.textContent = `row ${row}, column ${column}`;
    const { offsetWidth, offsetHeight } = this.#reading;
    const left = (column + 1) * cellWidth + 10;
    const top = row * cellHeight - offsetHeight - 6;
    place(
      this.#reading,
      left + offsetWidth > width ? Math.max(column * cellWidth - offsetWidth - 10, 4) : left,
      Math.max(top, 4),
    );
  }

  #follow({ offsetX, offsetY }) {
    const { rows, columns } = this.#map;
    const { clientWidth, clientHeight } = this.#canvas;
    this.#move(Math.floor((offsetY / clientHeight) * rows), Math.floor((offsetX / clientWidth) * columns));
  }

  #step(event) {
    if (event.key === "Escape") return this.hide();
    if (!(event.key in STEPS) || this.#map.rows === 0) return;
    event.preventDefault();
    const [down, right] = STEPS[event.key];
    const [row, column] = this.#cell ?? [Math.floor(this.#map.rows / 2), Math.floor(this.#map.columns / 2)];
    this.#move(row + down, column + right);
    byId("reading-spoken").textContent = this.#reading.textContent;
  }

  #move(row, column) {
    const inside = (place, length) => Math.min(Math.max(place, 0), length - 1);
    this.#cell = [inside(row, this.#map.rows), inside(column, this.#map.columns)];
    this.update();
  }
}

const place = (element, left, top) => Object.assign(element.style, { left: `${left}px`, top: `${top}px` });
