// Regions on a drawing of the brain, coloured by their change since the last visit, or by the difference of two courses.
"use strict";

(function () {
  // The expected change in percent of the last level, and of course B against A if there are two.
  Crow.change = function (view, region) {
    const course = view.answer.courses, at = view.at;
    const levels = view.shown.observed.levels[region];
    const seen = view.shown.observed.values[region].filter((value) => value !== null);
    const level = levels.length ? levels[levels.length - 1][3] : null, base = level === null && seen.length ? seen[seen.length - 1] : level;
    const size = Math.abs(base === null ? course[0].bands[region][0][3] : base);
    if (!size) return null;
    if (view.answer.difference) return (100 * view.answer.difference[region][at][3]) / size;
    return base === null ? null : (100 * (course[0].bands[region][at][3] - base)) / size;
  };

  Crow.brain = function (view, choose) {
    const drawing = view.start.brain, box = document.getElementById("brain");
    if (!drawing) {
      box.replaceChildren(Crow.html("p", { class: "soft" }, "None of the regions has the name of a Desikan-Killiany or FreeSurfer structure, so there is no drawing."));
      return;
    }
    const colour = Crow.colours(), changes = {};
    for (const region of Object.keys(drawing.regions)) changes[region] = Crow.change(view, region);
    const most = Math.max(0.1, ...Object.values(changes).map((value) => Math.abs(value || 0)));
    const limit = Crow.ticks(0, most * 1.0001, 1).concat(most).reduce((a, b) => Math.max(a, b));
    const of = {};
    for (const [region, shapes] of Object.entries(drawing.regions)) for (const shape of shapes) of[shape] = region;
    const views = drawing.views.map((one) => Crow.html("figure", {}, draw(one), Crow.html("figcaption", {}, one.title)));
    const what = view.answer.difference ? "Difference of B from A" : "Expected change since the last visit";
    const scale = Crow.html("div", { class: "scale" }, Crow.html("span", {}, Crow.percent(-limit)), Crow.html("span", { class: "bar" }), Crow.html("span", {}, Crow.percent(limit)));
    const unnamed = view.start.regions.filter((one) => !(one.name in drawing.regions)).map((one) => one.short);
    const rest = unnamed.length ? `Not on the drawing: ${unnamed.slice(0, 8).join(", ")}${unnamed.length > 8 ? ` and ${unnamed.length - 8} more` : ""}.` : "";
    box.replaceChildren(
      Crow.html("p", { class: "soft" }, `${what}, at ${Crow.years(view.answer.times[view.at])}.`),
      Crow.html("div", { class: "views" }, ...views), scale,
      Crow.html("p", { class: "soft" }, rest), Crow.html("p", { class: "soft tiny" }, drawing.source),
    );

    function draw(one) {
      const root = Crow.svg("svg", { viewBox: one.box.join(" "), role: "img", "aria-label": one.title });
      root.append(Crow.svg("path", { d: one.outline, fill: colour.tint, stroke: colour.soft, "stroke-width": 4 }));
      for (const [name, path] of Object.entries(one.shapes)) {
        const region = of[one.title + "/" + name], value = region === undefined ? null : changes[region];
        const chosen = region !== undefined && region === view.region;
        const fill = value === null ? colour.surface : mix(value / limit);
        // A region has a border of its own colour, so that the thin ones are seen.
        const border = region === undefined ? [colour.soft, 3] : [chosen ? colour.ink : fill, 16];
        const shape = Crow.svg("path", { d: path, fill, stroke: border[0], "stroke-width": border[1], "stroke-linejoin": "round" });
        if (region !== undefined) {
          shape.append(Crow.svg("title", {}, `${Crow.tooltip(view, region)}${value === null ? "" : ` (${Crow.percent(value)})`}`));
          shape.setAttribute("class", "shape");
          shape.addEventListener("click", () => choose(region));
        }
        root.append(shape);
        if (chosen) root.append(shape);
      }
      return root;
    }

    function mix(share) {
      const end = share < 0 ? colour.low : colour.high;
      return `color-mix(in oklab, ${end} ${Math.round(100 * Math.min(1, Math.abs(share)))}%, ${colour.mid})`;
    }
  };
})();
