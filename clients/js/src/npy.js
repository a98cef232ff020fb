/**
 * NumPy's `.npy` files and typed arrays.
 *
 * @import {ArrayInput, NumpyArray} from "./types.js"
 */

import { ArrayError } from "./errors.js";

/** @type {any} */
const Float16 = /** @type {any} */ (globalThis).Float16Array ?? Uint16Array;

/** `numbers`: how many of the class make an item. @type {{dtype: string, descr: string, Class: any, numbers: number}[]} */
const DTYPES = [
  { dtype: "uint8", descr: "|u1", Class: Uint8Array, numbers: 1 },
  { dtype: "bool", descr: "|b1", Class: Uint8Array, numbers: 1 },
  { dtype: "int8", descr: "|i1", Class: Int8Array, numbers: 1 },
  { dtype: "uint16", descr: "<u2", Class: Uint16Array, numbers: 1 },
  { dtype: "int16", descr: "<i2", Class: Int16Array, numbers: 1 },
  { dtype: "uint32", descr: "<u4", Class: Uint32Array, numbers: 1 },
  { dtype: "int32", descr: "<i4", Class: Int32Array, numbers: 1 },
  { dtype: "uint64", descr: "<u8", Class: BigUint64Array, numbers: 1 },
  { dtype: "int64", descr: "<i8", Class: BigInt64Array, numbers: 1 },
  { dtype: "float16", descr: "<f2", Class: Float16, numbers: 1 },
  { dtype: "float32", descr: "<f4", Class: Float32Array, numbers: 1 },
  { dtype: "float64", descr: "<f8", Class: Float64Array, numbers: 1 },
  { dtype: "complex64", descr: "<c8", Class: Float32Array, numbers: 2 },
  { dtype: "complex128", descr: "<c16", Class: Float64Array, numbers: 2 },
];
const MAGIC = "\x93NUMPY";
const MOST_DIMENSIONS = 8;

const SHAPE = /^\s*(?:\d+\s*(?:,\s*\d+\s*)*,?\s*)?$/;

/** @param {number[]} shape */
const countItems = (shape) => shape.reduce((product, length) => product * length, 1);

/** Whether the bytes differ between C order and Fortran order. @param {number[]} shape */
const hasAnOrder = (shape) => !shape.includes(0) && shape.filter((length) => length > 1).length > 1;

/**
 * Read a `.npy` file (format 1.0 or 2.0, little-endian, C order, or Fortran order where that is
 * the same). `data` is a view of `buffer`, not a copy, where the numbers begin at a multiple of
 * their size, as numpy's files do.
 *
 * @param {ArrayBuffer} buffer
 * @returns {NumpyArray}
 * @throws {ArrayError}
 */
export function parseNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (bytes.length < 12 || String.fromCharCode(...bytes.subarray(0, 6)) !== MAGIC) {
    throw new ArrayError("not a .npy file");
  }
  const [major, minor] = [bytes[6], bytes[7]];
  if ((major !== 1 && major !== 2) || minor !== 0) {
    throw new ArrayError(`.npy format ${major}.${minor} is unknown`);
  }
  const start = major === 1 ? 10 : 12;
  const end = start + (major === 1 ? view.getUint16(8, true) : view.getUint32(8, true));
  if (end > bytes.length) throw new ArrayError("the .npy file ends inside its header");
  const header = new TextDecoder("latin1").decode(bytes.subarray(start, end)).trim();
  const descr = readField(header, /(["'])descr\1\s*:\s*(["'])([^"']*)\2/);
  const order = readField(header, /(["'])fortran_order\1\s*:\s*()(True|False)\b/);
  const dimensions = readField(header, /(["'])shape\1\s*:\s*()\(([\d\s,]*)\)/);
  // Single bytes have no order, and some writers give them one all the same.
  const known = DTYPES.find((each) => each.descr === descr || each.descr === descr?.replace(/^<(?=.1$)/, "|"));
  const shape = (dimensions?.match(/\d+/g) ?? []).map(Number);
  if (!known || !order || !SHAPE.test(dimensions ?? "-") || shape.length > MOST_DIMENSIONS) {
    throw new ArrayError(`an array like this cannot be read here: ${header}`);
  }
  if (order === "True" && hasAnOrder(shape)) {
    throw new ArrayError(`an array of shape [${shape}] has to be in C order, not in Fortran order`);
  }
  const length = countItems(shape) * known.numbers;
  if (bytes.length - end !== length * known.Class.BYTES_PER_ELEMENT) {
    throw new ArrayError(`${bytes.length - end} bytes of data do not make ${header}`);
  }
  const data =
    end % known.Class.BYTES_PER_ELEMENT === 0
      ? new known.Class(buffer, end, length)
      : new known.Class(buffer.slice(end));
  return { shape, dtype: known.dtype, data };
}

/** @param {string} header @param {RegExp} pattern @returns {string | undefined} its third group */
const readField = (header, pattern) => pattern.exec(header)?.[3];

/**
 * Write a `.npy` file of format 1.0, as numpy does.
 *
 * @param {ArrayInput} array
 * @returns {ArrayBuffer}
 * @throws {ArrayError}
 */
export function writeNpy({ shape, dtype, data }) {
  const isPlain = Array.isArray(data);
  const known = DTYPES.find((each) =>
    dtype ? each.dtype === dtype : each.Class === (isPlain ? Float64Array : data.constructor),
  );
  if (!known) throw new ArrayError(`no array can be made of ${dtype ?? data?.constructor?.name}`);
  const isHalves = known.dtype === "float16" && data instanceof Uint16Array; // their bits
  if (isPlain ? known.dtype === "float16" && Float16 === Uint16Array : !(data instanceof known.Class || isHalves)) {
    throw new ArrayError(`${data?.constructor?.name} does not hold ${known.dtype}`);
  }
  const numbers = isPlain ? known.Class.from(data) : data;
  shape ??= [numbers.length / known.numbers];
  if (shape.length > MOST_DIMENSIONS || !shape.every((length) => Number.isSafeInteger(length) && length >= 0)) {
    throw new ArrayError(`no array here has the shape ${shape}`);
  }
  if (countItems(shape) * known.numbers !== numbers.length) {
    throw new ArrayError(`${numbers.length} numbers do not make ${known.dtype} of shape ${shape}`);
  }
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const header = `{'descr': '${known.descr}', 'fortran_order': False, 'shape': (${tuple}), }`;
  const start = Math.ceil((10 + header.length + 1) / 64) * 64; // so that the numbers are aligned
  const file = new Uint8Array(start + numbers.byteLength);
  const text = `${MAGIC}\x01\x00\x00\x00${header.padEnd(start - 11)}\n`;
  for (let i = 0; i < start; i += 1) file[i] = text.charCodeAt(i);
  new DataView(file.buffer).setUint16(8, start - 10, true);
  file.set(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength), start);
  return file.buffer;
}
