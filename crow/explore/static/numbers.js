// Numbers as text: two digits of the width of their interval.
"use strict";
window.Crow = {};

Crow.number = function (value, width) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(width || value || 1);
  const needed = Math.min(6, 1 - Math.floor(Math.log10(size))), digits = Math.max(0, needed), unit = Math.pow(10, -Math.min(0, needed));
  const rounded = digits ? Number(value.toFixed(digits)) : Math.round(value / unit) * unit, shown = rounded || 0;
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
  const text = Crow.number(value, Math.max(Math.abs(value), 1));
  return (value > 0 && !/^[0.]+$/.test(text) ? "+" : "") + text + " %";
};

// Round ticks that cover a range.
Crow.ticks = function (low, high, count) {
  const raw = (high - low) / Math.max(1, count), power = Math.pow(10, Math.floor(Math.log10(raw)));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= raw * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(Math.round(k * step * 1e9) / 1e9);
  return found;
};

// Decimals that all of some ticks need.
Crow.digits = function (ticks) {
  for (let digits = 0; digits < 6; digits++) if (ticks.every((tick) => Math.abs(tick - Number(tick.toFixed(digits))) < 1e-9)) return digits;
  return 6;
};

// The unit in which values up to a size are shown: cm³ for thousands of mm³.
Crow.scale = function (view, region, largest) {
  const unit = (view.start.regions.find((one) => one.name === region) || {}).unit || "";
  const large = view.start.scales[unit], bigger = large && Math.abs(largest) >= large.from;
  const per = bigger ? large.per : 1, shown = bigger ? large.unit : unit, after = shown ? ` ${shown}` : "";
  return {
    unit: shown, per, text: (value, width) => Crow.number(value / per, width / per) + after,
    interval: (low, high) => Crow.interval(low / per, high / per),
  };
};

// That of a region's values, the same in its chart, in the reading and in tooltips.
Crow.scaleOf = function (view, region) {
  const seen = view.shown.observed.values[region], courses = view.answer ? view.answer.courses : [];
  const values = [...seen, ...courses.flatMap((course) => course.bands[region].flatMap((row) => [row[0], row[row.length - 1]]))];
  return Crow.scale(view, region, Math.max(...values.map((value) => Math.abs(value || 0))));
};

// "−310 mm³, 90 % −520 to −90": B against A, in the unit of its own size.
Crow.differenceText = function (view, region, at) {
  const own = view.answer.difference[region][at], scale = Crow.scale(view, region, Math.max(Math.abs(own[0]), Math.abs(own[6])));
  return `${scale.text(own[3], (own[6] - own[0]) / 2)}, 90 % ${scale.interval(own[0], own[6])}`;
};

// A region's value at the chosen time, or the difference of two courses, in words.
Crow.tooltip = function (view, region) {
  const at = view.at, scale = Crow.scaleOf(view, region), own = view.answer.courses[0].bands[region][at];
  const value = view.answer.difference ? `B − A ${Crow.differenceText(view, region, at)}` : `${scale.text(own[3], own[6] - own[0])} (90 % ${scale.interval(own[0], own[6])})`;
  return `${region}: ${value}, at ${Crow.years(view.answer.times[at])}`;
};
