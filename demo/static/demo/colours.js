// The colour map viridis: even steps of the data look like even steps of colour, also in grey
// and to colour-blind eyes. A polynomial fit by Matt Zucker (public domain).

const FIT = [
  [0.2777273272234177, 0.005407344544966578, 0.3340998053353061],
  [0.1050930431085774, 1.404613529898575, 1.384590162594685],
  [-0.3308618287255563, 0.214847559468213, 0.09509516302823659],
  [-4.634230498983486, -5.799100973351585, -19.33244095627987],
  [6.228269936347081, 14.17993336680509, 56.69055260068105],
  [4.776384997670288, -13.74514537774601, -65.35303263337234],
  [-5.435455855934631, 4.645852612178535, 26.3124352495832],
];

/** 256 colours, each as the four bytes of a pixel: red, green, blue, opacity. */
export const VIRIDIS = new Uint32Array(256);

const bytes = new Uint8ClampedArray(VIRIDIS.buffer);
for (let i = 0; i < 256; i++) {
  for (let channel = 0; channel < 3; channel++) {
    bytes[4 * i + channel] = 255 * FIT.reduceRight((sum, row) => sum * (i / 255) + row[channel], 0);
  }
  bytes[4 * i + 3] = 255;
}
