// Numbers and times, as people read them.

const whole = new Intl.NumberFormat("en");
const upToOne = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const three = new Intl.NumberFormat("en", { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const clockWithSeconds = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const UNITS = ["B", "kB", "MB", "GB", "TB"];

export const NOTHING = "–";
const known = (format) => (value) => (Number.isFinite(value) ? format(value) : NOTHING);

export const count = known((value) => whole.format(value));
export const number = known((value) => three.format(value));
export const percent = known((value) => `${upToOne.format(value)} %`);
export const bytesPerSecond = known((value) => `${bytes(value)}/s`);
export const milliseconds = known((value) => `${value < 10 ? value.toFixed(1) : whole.format(Math.round(value))} ms`);

export const bytes = known((value) => {
  const power = value < 1 ? 0 : Math.min(Math.floor(Math.log10(value) / 3), UNITS.length - 1);
  return `${three.format(value / 1000 ** power)} ${UNITS[power]}`;
});

export const duration = known((seconds) => {
  if (seconds < 60) return `${seconds < 10 ? upToOne.format(seconds) : Math.round(seconds)} s`;
  return seconds < 3600 ? `${Math.round(seconds / 60)} min` : `${upToOne.format(seconds / 3600)} h`;
});

export const times = (n) => (n === 1 ? "once" : n === 2 ? "twice" : `${whole.format(n)} times`);
export const plural = (n, one, many) => `${whole.format(n)} ${n === 1 ? one : many}`;
export const timeOfDay = (time) => clock.format(time);
export const exactTime = (time) => clockWithSeconds.format(time);
