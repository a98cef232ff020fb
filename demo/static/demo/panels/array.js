// Array: a numpy array from a binary topic, drawn as a heat map.
import { VIRIDIS } from "../colours.js";
import { Connection } from "../connection.js";
import { parseNpy } from "../npy.js";
import { Panel } from "./panel.js";

export function startArray({ signIn }) {
  const panel = new Panel("array-panel");
  const canvas = panel.find("#array-canvas");
  const info = panel.find("#array-info");
  let frames = 0;

  function show(buffer) {
    const { dtype, shape, data } = parseNpy(buffer);
    const [rows, columns] = shape.length === 2 ? shape : [1, data.length];
    info.textContent = `shape (${shape.join(", ")}), ${dtype}, ${data.byteLength.toLocaleString()} bytes`;
    if (shape.length > 2 || data.length === 0) throw new Error("Only arrays of one or two dimensions can be drawn.");
    const numbers = Float64Array.from(data, Number);
    const [min, max] = findRange(numbers);
    panel.find("#array-min").textContent = format(min);
    panel.find("#array-max").textContent = format(max);
    drawNumbers(canvas, { numbers, rows, columns, min, max });
    panel.element.dataset.frames = ++frames;
  }

  drawNumbers(panel.find("#array-scale"), {
    numbers: Float64Array.from({ length: 256 }, (_, i) => i), rows: 1, columns: 256, min: 0, max: 255,
  });
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  info.textContent = "Waiting for the first array…";
  panel.element.dataset.frames = 0;

  return new Connection({
    path: "/ws/arrays/host.cpu/",
    params: { history: 1, interval: 0.5 },
    signIn,
    onState: (state, reason) => panel.showState(state, reason),
    onMessage(message, buffer) {
      if (message.type === "error") return panel.showError(message);
      if (message.type !== "binary") return;
      try {
        show(buffer);
        panel.say("");
      } catch (error) {
        panel.say(error.message);
      }
    },
  });
}

function findRange(numbers) {
  let [min, max] = [Infinity, -Infinity];
  for (const number of numbers) {
    if (number < min) min = number;
    if (number > max) max = number;
  }
  return [min, max];
}

function drawNumbers(canvas, { numbers, rows, columns, min, max }) {
  // One pixel a number; the style sheet stretches the canvas without smoothing.
  canvas.width = columns;
  canvas.height = rows;
  const image = new ImageData(columns, rows);
  const scale = max > min ? 255 / (max - min) : 0;
  for (let i = 0; i < numbers.length; i++) {
    if (Number.isNaN(numbers[i])) continue; // stays transparent
    const colour = 4 * Math.round((numbers[i] - min) * scale);
    image.data.set(VIRIDIS.subarray(colour, colour + 4), 4 * i);
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const format = (number) => (Number.isFinite(number) ? Number(number.toPrecision(3)).toString() : "–");
