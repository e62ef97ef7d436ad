// The courses of the covariates: a small timeline of each, and steps with sliders for value and time.
"use strict";

(function () {
  Crow.editor = function (view, changed) {
    const box = document.getElementById("editor");
    if (Crow.saved) { box.replaceChildren(...savedCourses(view, changed)); return; }
    const course = view.courses[view.editing], name = "AB"[view.editing];
    const rule = Crow.html("select", { id: "rule", onchange: () => { course.future = rule.value; changed(); } },
      Crow.html("option", { value: "carry" }, "change as in other subjects"), Crow.html("option", { value: "linear" }, "follow the subject's own trend"));
    rule.value = course.future;
    const covariates = view.start.covariates.filter((one) => one.changes);
    const parts = covariates.map((one) => fieldset(view, one, course, changed));
    box.replaceChildren(
      Crow.html("p", { class: "stack" }, Crow.html("label", { htmlFor: "rule", class: "soft" }, covariates.length ? `In course ${name}, covariates that are not set` : "No covariate changes within a subject."), covariates.length ? rule : null),
      ...parts,
    );
    Crow.timelines(view);
  };

  function fieldset(view, covariate, course, changed) {
    const steps = course.steps[covariate.name] || [];
    const rows = steps.map((step, k) => row(view, covariate, step, k, () => remove(step), changed));
    const add = Crow.html("button", { type: "button", class: "small", onclick: () => {
      const list = (course.steps[covariate.name] = course.steps[covariate.name] || []);
      list.push({ value: startValue(view, covariate, list), at: list.length ? Math.min(view.horizon, list[list.length - 1].at + 1) : 0 });
      changed(true, covariate.name);
    } }, steps.length ? "Another step" : "Set");
    add.setAttribute("aria-label", `${steps.length ? "Another step of" : "Set"} ${covariate.name}`);
    function remove(step) {
      course.steps[covariate.name] = steps.filter((one) => one !== step);
      if (!course.steps[covariate.name].length) delete course.steps[covariate.name];
      changed(true, covariate.name);
    }
    const line = Crow.html("div", { class: "timeline" });
    line.dataset.covariate = covariate.name;
    const made = Crow.html("fieldset", {}, Crow.html("legend", {}, covariate.name), add, line, ...rows);
    made.dataset.covariate = covariate.name;
    return made;
  }

  // The last observed value, or the step before.
  function startValue(view, covariate, steps) {
    if (steps.length) return steps[steps.length - 1].value;
    const values = (view.shown ? view.shown.covariates.values[covariate.name] : []).filter((value) => value !== null);
    if (values.length) return String(values[values.length - 1]);
    return covariate.numeric ? String(covariate.low) : covariate.levels[0];
  }

  function row(view, covariate, step, k, remove, changed) {
    const label = `${covariate.name}, step ${k + 1}`;
    const since = Crow.html("output", {}, sinceText(step.at));
    const at = Crow.html("input", { type: "range", min: 0, max: view.horizon, step: 0.25, class: "from", oninput: () => {
      step.at = Number(at.value); since.textContent = sinceText(step.at); changed();
    } });
    at.value = step.at;
    at.setAttribute("aria-label", `${label}: from how many years after the last visit`);
    const removing = Crow.html("button", { type: "button", class: "small remove", onclick: remove }, "×");
    removing.setAttribute("aria-label", `Remove ${label}`);
    return Crow.html("div", { class: "step" }, ...value(covariate, step, label, changed), removing, Crow.html("span", { class: "from-row" }, since, at));
  }

  function sinceText(at) {
    return at ? `from ${Crow.years(at)} on` : "from the next visit on";
  }

  function value(covariate, step, label, changed) {
    if (!covariate.numeric) {
      const list = Crow.html("select", { onchange: () => { step.value = list.value; changed(); } }, ...covariate.levels.map((level) => Crow.html("option", { value: level }, level)));
      list.value = step.value;
      list.setAttribute("aria-label", label);
      return [list];
    }
    const size = covariate.whole ? 1 : Math.pow(10, Math.floor(Math.log10((covariate.high - covariate.low || 1) / 50)));
    const slider = Crow.html("input", { type: "range", class: "value", min: covariate.low, max: covariate.high, step: size, oninput: () => { step.value = box.value = slider.value; changed(); } });
    const box = Crow.html("input", { type: "number", step: "any", oninput: () => { if (box.value !== "") { step.value = slider.value = box.value; step.value = box.value; changed(); } } });
    slider.value = box.value = step.value;
    slider.setAttribute("aria-label", label);
    box.setAttribute("aria-label", `${label}, as a number`);
    return [slider, box];
  }

  // Observed values as dots, and the values of each course.
  Crow.timelines = function (view) {
    for (const box of document.querySelectorAll("#editor .timeline")) {
      const covariate = view.start.covariates.find((one) => one.name === box.dataset.covariate);
      box.replaceChildren(timeline(view, covariate, Math.max(160, box.clientWidth)));
    }
  };

  function timeline(view, covariate, width) {
    const colour = Crow.colours(), height = 34, seen = view.shown.covariates, name = covariate.name;
    const place = (value) => covariate.numeric ? value : covariate.levels.indexOf(value);
    const past = seen.times.map((time, k) => [time, seen.values[name][k]]).filter((one) => one[1] !== null);
    const ahead = view.answer ? view.answer.courses.map((course) => view.answer.times.map((time, k) => [time, course.covariates[name][k]]).filter((one) => one[1] !== null)) : [];
    const all = [past, ...ahead].flat().map((one) => place(one[1]));
    const low = covariate.numeric ? Math.min(covariate.low, ...all) : 0, high = covariate.numeric ? Math.max(covariate.high, ...all) : covariate.levels.length - 1;
    const first = Math.min(0, ...seen.times), x = (time) => 5 + ((time - first) / (view.horizon - first)) * (width - 10);
    const y = (value) => height - 5 - ((place(value) - low) / (high - low || 1)) * (height - 10);
    const root = Crow.svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
    root.append(Crow.svg("line", { x1: x(0), x2: x(0), y1: 0, y2: height, stroke: colour.soft, "stroke-dasharray": "2 3" }));
    ahead.forEach((course, k) => {
      const points = [];
      let before = past.length ? past[past.length - 1] : null;
      if (before) points.push([x(0), y(before[1])]);
      for (const one of course) {
        if (before && covariate.numeric === false && before[1] !== one[1]) points.push([x(one[0]), y(before[1])]);
        points.push([x(one[0]), y(one[1])]);
        before = one;
      }
      if (points.length) root.append(Crow.svg("path", { d: Crow.line(points), fill: "none", stroke: k ? colour.b : colour.a, "stroke-width": 2, "stroke-dasharray": k ? "6 3" : "none" }));
    });
    for (const [time, value] of past) root.append(Crow.svg("circle", { cx: x(time), cy: y(value), r: 2.5, fill: colour.ink }));
    return root;
  }

  // A saved page: two lists of its courses.
  function savedCourses(view, changed) {
    return [0, 1].map((k) => {
      const list = Crow.html("select", { id: `saved-${"ab"[k]}`, onchange: () => { view.chosen[k] = list.value === "" ? null : Number(list.value); changed(); } },
        ...(k ? [Crow.html("option", { value: "" }, "none")] : []), ...Crow.saved.courses.map((course, n) => Crow.html("option", { value: String(n) }, course.label)));
      list.value = view.chosen[k] === null ? "" : String(view.chosen[k]);
      return Crow.html("p", { class: "stack" }, Crow.html("label", { htmlFor: list.id, class: "ab"[k] }, `Course ${"AB"[k]}`), list);
    });
  }
})();
