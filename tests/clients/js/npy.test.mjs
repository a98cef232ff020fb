import assert from "node:assert/strict";
import { test } from "node:test";

import { ArrayError, parseNpy, writeNpy } from "../../../clients/js/src/realtime.js";
import { readBuffer, readVectors, require } from "./support.mjs";

const { default: Npyjs } = require("npyjs");
const { arrays, refused } = readVectors("npy/npy.json");

/** JSON has no NaN and no Infinity, and no 64-bit integers. */
function thaw(value, data) {
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return BigInt(value);
  return Number(value);
}

/** The value of a half float, for engines without Float16Array. */
function readHalf(bits) {
  const [sign, exponent, fraction] = [bits >> 15 ? -1 : 1, (bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return exponent ? sign * 2 ** (exponent - 15) * (1 + fraction / 1024) : sign * 2 ** -14 * (fraction / 1024);
}

function readNumbers({ dtype, data }) {
  return dtype === "float16" && data instanceof Uint16Array ? Array.from(data, readHalf) : Array.from(data);
}

for (const { file, dtype, shape, values, rewritten } of arrays) {
  test(`${file} is read, and written as numpy writes it`, () => {
    const buffer = readBuffer(`npy/${file}`);
    const array = parseNpy(buffer);
    assert.equal(array.dtype, dtype);
    assert.deepEqual(array.shape, shape);
    assert.equal(array.data.buffer, buffer, "a view, not a copy");
    assert.deepEqual(readNumbers(array), values.flat().map((value) => thaw(value, array.data)));
    if (!rewritten) assert.deepEqual(Buffer.from(writeNpy(array)), Buffer.from(buffer));
  });
}

for (const { file, why } of refused) {
  test(`${file} is refused: ${why}`, () => {
    assert.throws(() => parseNpy(readBuffer(`npy/${file}`)), ArrayError);
  });
}

test("a long shape that is none is refused in no time", () => {
  const header = `{'descr': '<f8', 'fortran_order': False, 'shape': (${"1".repeat(4000)}x), }`;
  const file = Buffer.from(`\x93NUMPY\x01\x00${String.fromCharCode(header.length & 255, header.length >> 8)}${header}`, "latin1");
  const began = performance.now();
  assert.throws(() => parseNpy(file.buffer.slice(file.byteOffset, file.byteOffset + file.length)), ArrayError);
  assert.ok(performance.now() - began < 2000);
});

// npyjs knows no complex numbers, and of headers those alone that numpy writes.
const knownToNpyjs = ({ file, dtype }) => !dtype.startsWith("complex") && !/int8_little|double_quotes/.test(file);
for (const { file } of arrays.filter(knownToNpyjs)) {
  test(`npyjs reads ${file} alike`, async () => {
    const buffer = readBuffer(`npy/${file}`);
    const ours = parseNpy(buffer);
    const theirs = await new Npyjs().parse(buffer);
    assert.deepEqual(theirs.shape, ours.shape);
    const numbers = Array.from(theirs.data, (value) => (typeof value === "boolean" ? Number(value) : value));
    assert.deepEqual(numbers, readNumbers(ours));
  });
}

test("npyjs reads what is written here", async () => {
  const data = new Float64Array([1.5, -2, NaN, Infinity, 0, 1e300]);
  const theirs = await new Npyjs().parse(writeNpy({ shape: [2, 3], data }));
  assert.deepEqual([theirs.shape, theirs.data], [[2, 3], data]);
});

test("numbers that begin in between are copied", () => {
  const odd = writeNpy({ data: new Float64Array([1, 2]) });
  const header = Buffer.from(odd, 10, 118).toString("latin1");
  const shifted = Buffer.concat([
    Buffer.from(odd, 0, 8),
    Buffer.from([117, 0]),
    Buffer.from(`${header.slice(0, 116)}\n`, "latin1"),
    Buffer.from(odd, 128),
  ]);
  const { data } = parseNpy(shifted.buffer.slice(shifted.byteOffset, shifted.byteOffset + shifted.byteLength));
  assert.deepEqual(data, new Float64Array([1, 2]));
});

test("dtype and shape follow from the typed array", () => {
  assert.deepEqual(parseNpy(writeNpy({ data: new Int16Array([1, 2, 3]) })), {
    shape: [3],
    dtype: "int16",
    data: new Int16Array([1, 2, 3]),
  });
  assert.equal(parseNpy(writeNpy({ data: [1, 2] })).dtype, "float64");
  assert.deepEqual(parseNpy(writeNpy({ dtype: "int64", data: [1n, 2n] })).data, new BigInt64Array([1n, 2n]));
  assert.deepEqual(parseNpy(writeNpy({ dtype: "complex64", data: [1, 2, 3, 4] })).shape, [2]);
});

test("float16 may be given as bits, whatever the engine", () => {
  const array = parseNpy(writeNpy({ dtype: "float16", data: new Uint16Array([0x3c00]) }));
  assert.deepEqual(readNumbers(array), [1]);
});

for (const [what, array] of [
  ["a shape of other numbers", { shape: [2, 2], data: new Float32Array(3) }],
  ["half a length", { shape: [1.5, 2], data: new Float32Array(3) }],
  ["a negative length", { shape: [-1, -3], data: new Float32Array(3) }],
  ["nine dimensions", { shape: Array(9).fill(1), data: new Float32Array(1) }],
  ["an unknown dtype", { dtype: "float128", data: [1] }],
  ["half a complex number", { dtype: "complex64", data: [1, 2, 3] }],
  ["no array", { data: "abc" }],
  ["other numbers than the dtype's", { dtype: "float64", data: new Float32Array(1) }],
]) {
  test(`${what} cannot be written`, () => {
    assert.throws(() => writeNpy(array), ArrayError);
  });
}
