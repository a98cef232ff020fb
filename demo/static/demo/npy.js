// Reads NumPy's .npy files (format 1.0 and 2.0, little-endian, C order).

const DTYPES = {
  "|b1": ["bool", Uint8Array],
  "|i1": ["int8", Int8Array],
  "|u1": ["uint8", Uint8Array],
  "<i2": ["int16", Int16Array],
  "<u2": ["uint16", Uint16Array],
  "<i4": ["int32", Int32Array],
  "<u4": ["uint32", Uint32Array],
  "<i8": ["int64", BigInt64Array],
  "<u8": ["uint64", BigUint64Array],
  "<f4": ["float32", Float32Array],
  "<f8": ["float64", Float64Array],
};

/** The array in an ArrayBuffer: {dtype, shape, data}, data a typed array in C order. */
export function parseNpy(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (bytes.length < 10 || String.fromCharCode(...bytes.subarray(0, 6)) !== "\x93NUMPY") {
    throw new Error("This is not an .npy file.");
  }
  const [start, size] = bytes[6] === 1 ? [10, view.getUint16(8, true)] : [12, view.getUint32(8, true)];
  const header = new TextDecoder().decode(bytes.subarray(start, start + size));
  const descr = /'descr':\s*'([^']+)'/.exec(header)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(header)?.[1].split(",").filter((n) => n.trim()).map(Number);
  if (!shape || /'fortran_order':\s*True/.test(header) || !(descr in DTYPES)) {
    throw new Error(`This page cannot read an array like ${header.trim()}.`);
  }
  const [dtype, TypedArray] = DTYPES[descr];
  const count = shape.reduce((product, n) => product * n, 1);
  // A slice, for a typed array must begin at a multiple of its item size.
  const body = buffer.slice(start + size);
  if (body.byteLength !== count * TypedArray.BYTES_PER_ELEMENT) {
    throw new Error("The array is not as long as its header says.");
  }
  return { dtype, shape, data: new TypedArray(body) };
}
