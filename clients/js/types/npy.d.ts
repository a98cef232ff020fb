/**
 * NumPy's `.npy` files and typed arrays.
 *
 * @import {ArrayInput, NumpyArray} from "./types.js"
 */
import type { ArrayInput, NumpyArray } from "./types.js";
/**
 * Read a `.npy` file (format 1.0 or 2.0, little-endian, C order, or Fortran order where that is
 * the same). `data` is a view of `buffer`, not a copy, where the numbers begin at a multiple of
 * their size, as numpy's files do.
 *
 * @param {ArrayBuffer} buffer
 * @returns {NumpyArray}
 * @throws {ArrayError}
 */
export declare function parseNpy(buffer: ArrayBuffer): NumpyArray;
/**
 * Write a `.npy` file of format 1.0, as numpy does.
 *
 * @param {ArrayInput} array
 * @returns {ArrayBuffer}
 * @throws {ArrayError}
 */
export declare function writeNpy({ shape, dtype, data }: ArrayInput): ArrayBuffer;
