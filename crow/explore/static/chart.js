// The fan of one region: observed visits with their levels, one or two forecasts, reference centiles, the end of the data.
"use strict";

(function () {
  const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif';
  const BANDS = [[0, 6, 0.16], [1, 5, 0.2], [2, 4, 0.3]]; // of the shares 5, 10, 25, 50, 75, 90, 95 %

  function known(rows) {
    return rows.filter((row) => row.every((value) => value !== null));
  }

  // All that is drawn of a region, as rows [time, value, ...].
  function rowsOf(view, region) {
    const seen = view.shown.observed, answer = view.answer;
    const observed = known(seen.times.map((time, k) => [time, seen.values[region][k]]));
    const levels = known(seen.times.map((time, k) => [time, ...seen.levels[region][k]]));
    const from = levels.length && levels[levels.length - 1][0] > -1e-6 ? [[0, ...levels[levels.length - 1].slice(1)]] : [];
    const fans = answer ? answer.courses.map((course) => from.concat(answer.times.map((time, k) => [time, ...course.bands[region][k]]))) : [];
    const centiles = view.shown.reference;
    const reference = centiles && view.reference ? centiles.times.map((time, k) => [time, ...centiles.bands[region][k]]).filter((row) => row[0] <= view.horizon + 1e-6) : [];
    return { observed, levels, fans, reference };
  }

  function extent(rows) {
    const values = [...rows.observed.map((row) => row[1]), ...[...rows.levels, ...rows.fans.flat(), ...rows.reference].flatMap((row) => [row[1], row[row.length - 1]])];
    let low = Math.min(...values), high = Math.max(...values);
    if (!(high > low)) { const pad = Math.abs(high) * 0.05 || 1; low -= pad; high += pad; }
    const room = (high - low) * 0.05;
    return [low - room, high + room];
  }

  Crow.fan = function (view, region, width, height, small) {
    const colour = Crow.colours(), rows = rowsOf(view, region), [low, high] = extent(rows), scale = Crow.scaleOf(view, region);
    const pad = small ? { left: 4, right: 4, top: 6, bottom: 6 } : { left: 62, right: 14, top: 14, bottom: 54 };
    const last = view.horizon, earliest = Math.min(0, ...view.shown.observed.times), first = earliest - (last - earliest) * 0.02;
    const x = (time) => pad.left + ((time - first) / (last - first)) * (width - pad.left - pad.right);
    const y = (value) => height - pad.bottom - ((value - low) / (high - low)) * (height - pad.top - pad.bottom);
    const root = Crow.svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "font-family": FONT, "font-size": 12, fill: colour.ink });
    root.setAttribute("aria-label", small ? "" : description(view, region));
    const add = (name, attributes, ...children) => { const made = Crow.svg(name, attributes, ...children); root.append(made); return made; };
    const bottom = height - pad.bottom;

    const end = view.shown.data_end;
    if (end !== null && end < last) {
      const from = Math.max(first, end);
      add("rect", { x: x(from), y: pad.top, width: x(last) - x(from), height: bottom - pad.top, fill: colour.beyond, class: "beyond" });
    }
    if (!small) axes();
    if (rows.reference.length) {
      for (const [a, b] of [[1, 5], [2, 4]]) add("path", { d: Crow.band(rows.reference.map((r) => [x(r[0]), y(r[a]), y(r[b])])), fill: colour.reference, "fill-opacity": 0.12, class: "reference" });
      add("path", { d: Crow.line(rows.reference.map((r) => [x(r[0]), y(r[3])])), fill: "none", stroke: colour.reference, "stroke-width": 1.2, "stroke-dasharray": "5 4", class: "reference" });
    }
    if (rows.levels.length > 1) {
      add("path", { d: Crow.band(rows.levels.map((r) => [x(r[0]), y(r[1]), y(r[7])])), fill: colour.ink, "fill-opacity": 0.09, class: "level" });
      add("path", { d: Crow.line(rows.levels.map((r) => [x(r[0]), y(r[4])])), fill: "none", stroke: colour.ink, "stroke-opacity": 0.45, "stroke-width": 1 });
    }
    rows.fans.forEach((fan, k) => {
      const own = k ? colour.b : colour.a, two = rows.fans.length > 1;
      for (const [a, b, opacity] of two ? [[0, 6, 0.16], [2, 4, 0.25]] : BANDS) {
        add("path", { d: Crow.band(fan.map((r) => [x(r[0]), y(r[a + 1]), y(r[b + 1])])), fill: own, "fill-opacity": opacity, class: "fan-" + "ab"[k] });
      }
      add("path", { d: Crow.line(fan.map((r) => [x(r[0]), y(r[4])])), fill: "none", stroke: own, "stroke-width": small ? 1.5 : 2.2, "stroke-dasharray": k ? "7 4" : "none", class: "median-" + "ab"[k] });
    });
    for (const row of small ? [] : rows.levels) {
      add("line", { x1: x(row[0]), x2: x(row[0]), y1: y(row[1]), y2: y(row[7]), stroke: colour.ink, "stroke-width": 1.3, class: "interval" });
      add("line", { x1: x(row[0]), x2: x(row[0]), y1: y(row[3]), y2: y(row[5]), stroke: colour.ink, "stroke-width": 3 });
    }
    for (const [time, value] of rows.observed) {
      const dot = { cx: x(time), cy: y(value), r: small ? 1.8 : 4, fill: colour.surface, stroke: colour.ink, "stroke-width": small ? 1.2 : 1.8, class: "observed" };
      add("circle", dot, ...(small ? [] : [Crow.svg("title", {}, `Observed: ${scale.text(value, (high - low) / 10)}, ${time ? `${Crow.years(-time)} before the last visit` : "at the last visit"}`)]));
    }
    if (!small && view.answer) cursor();
    return root;

    function axes() {
      const ticks = Crow.ticks(low / scale.per, high / scale.per, Math.max(3, Math.round(height / 70))), digits = Crow.digits(ticks);
      for (const tick of ticks) {
        const at = y(tick * scale.per);
        add("line", { x1: pad.left, x2: width - pad.right, y1: at, y2: at, stroke: colour.line });
        add("text", { x: pad.left - 8, y: at + 4, "text-anchor": "end", fill: colour.soft, class: "tick" }, tick.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits }).replace("-", "−"));
      }
      for (const time of Crow.ticks(first, last, Math.max(3, Math.round(width / 90)))) {
        add("line", { x1: x(time), x2: x(time), y1: bottom, y2: bottom + 5, stroke: colour.soft });
        add("text", { x: x(time), y: bottom + 19, "text-anchor": "middle", fill: colour.soft }, String(time).replace("-", "−"));
      }
      add("line", { x1: pad.left, x2: width - pad.right, y1: bottom, y2: bottom, stroke: colour.soft });
      add("line", { x1: x(0), x2: x(0), y1: pad.top, y2: bottom, stroke: colour.soft, "stroke-dasharray": "2 3" });
      const age = view.answer && view.answer.ages[0] !== null ? ` (age ${(view.answer.ages[0] - view.answer.times[0]).toFixed(1)} at the last visit)` : "";
      add("text", { x: (pad.left + width - pad.right) / 2, y: height - 14, "text-anchor": "middle" }, "Years after the last visit" + (width > 420 ? age : ""));
      if (scale.unit) add("text", { x: pad.left - 8, y: 11, "text-anchor": "end", fill: colour.soft, class: "unit" }, scale.unit);
      if (end !== null && end < last && x(last) - x(Math.max(first, end)) > 130) {
        add("text", { x: x(last) - 6, y: pad.top + 14, "text-anchor": "end", fill: colour.soft, "font-size": 11 }, "beyond the training data");
      }
    }

    function cursor() {
      const time = view.answer.times[view.at];
      add("line", { x1: x(time), x2: x(time), y1: pad.top, y2: bottom, stroke: colour.ink, "stroke-opacity": 0.55, class: "cursor" });
      view.answer.courses.forEach((course, k) => add("circle", { cx: x(time), cy: y(course.bands[region][view.at][3]), r: 4, fill: k ? colour.b : colour.a }));
    }
  };

  function description(view, region) {
    if (!view.answer) return `${region}: observed visits`;
    const k = view.at, scale = Crow.scaleOf(view, region), each = view.answer.courses.map((course, n) => `course ${"AB"[n]} median ${scale.text(course.bands[region][k][3], course.bands[region][k][6] - course.bands[region][k][0])}`);
    return `${region} over time: ${view.shown.observed.times.length} observed visits, and at ${Crow.years(view.answer.times[k])} ${each.join(", ")}`;
  }
})();
