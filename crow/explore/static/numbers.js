// Numbers as text: as many digits as their interval allows.
"use strict";
window.Crow = {};

Crow.number = function (value, width) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(width || value || 1);
  const digits = Math.max(0, Math.min(6, 1 - Math.floor(Math.log10(size))));
  const shown = digits === 0 ? Math.round(value) : value;
  return shown.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−");
};

// An interval's lower and upper end with the digits of its width.
Crow.interval = function (low, high) {
  const width = (high - low) / 2;
  return Crow.number(low, width) + " to " + Crow.number(high, width);
};

Crow.years = function (value) {
  const rounded = Math.round(value * 100) / 100;
  return String(rounded).replace("-", "−") + (Math.abs(rounded) === 1 ? " year" : " years");
};

Crow.percent = function (value) {
  return (value > 0 ? "+" : "") + Crow.number(value, Math.max(Math.abs(value), 1)) + " %";
};

// Round ticks that cover a range.
Crow.ticks = function (low, high, count) {
  const raw = (high - low) / Math.max(1, count), power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Math.round(k * step * 1e9) / 1e9);
  return found;
};
