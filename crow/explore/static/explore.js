// The state of the page, and what a change of it asks and draws.
"use strict";

(function () {
  const $ = (id) => document.getElementById(id);
  const SHOWN = 24; // small multiples, before all are asked for
  const view = { start: null, whose: null, shown: null, answer: null, horizon: 5, courses: [{ future: "carry", steps: {} }], editing: 0, region: "", at: null, reference: true, filter: "", all: false, scanAt: null, chosen: [0, null] };
  Crow.view = view;

  let choice = 0; // of a subject: answers about an earlier one are dropped
  const ask = Crow.latest((answer, mark) => { if (mark === choice) take(answer); }, trouble);

  function take(answer) {
    trouble("");
    view.answer = answer;
    settle();
    draw();
  }

  function trouble(error) {
    $("trouble").textContent = error ? error.message : "";
    $("trouble").hidden = !error;
  }

  function question(whose) {
    if (Crow.saved) return { chosen: view.chosen.filter((k) => k !== null) };
    return { ...whose, horizon: view.horizon, courses: view.courses.map((_, k) => view.asked(k)) };
  }

  // A course as the server reads it.
  view.asked = function (k) {
    const course = view.courses[k];
    return { future: course.future, steps: Object.fromEntries(Object.entries(course.steps).map(([name, steps]) => [name, steps.map((step) => ({ value: String(step.value), at: Math.min(step.at, view.horizon) }))])) };
  };

  function forecast() {
    if (view.whose) ask("forecast", question(view.whose), choice);
  }

  async function choose(whose, failed) {
    const own = ++choice;
    try {
      const shown = await Crow.ask("subject", { ...whose, horizon: view.horizon });
      const answer = await Crow.ask("forecast", question(whose));
      if (own !== choice) return;
      Object.assign(view, { whose, shown, at: null });
      facts();
      take(answer);
      Crow.editor(view, edited);
    } catch (error) {
      if (own === choice) (failed || trouble)(error);
    }
  }

  // Reference centiles reach as far as the horizon.
  async function farther() {
    const own = choice;
    try {
      const shown = await Crow.ask("subject", { ...view.whose, horizon: view.horizon });
      if (own !== choice) return;
      view.shown = shown;
      mark();
      draw();
    } catch (error) {
      trouble(error);
    }
  }

  function edited(rebuild, covariate) {
    if (rebuild) {
      Crow.editor(view, edited);
      const own = [...document.querySelectorAll("#editor fieldset")].find((one) => one.dataset.covariate === covariate);
      const steps = own ? own.querySelectorAll(".step") : [];
      (steps.length ? steps[steps.length - 1].querySelector("input, select") : own && own.querySelector("button"))?.focus();
    }
    forecast();
  }

  function settle() {
    const last = view.answer.times.length - 1;
    if (view.at === null || view.at > last) view.at = last;
    $("at").max = last;
    $("at").value = view.at;
    view.answer.courses.forEach((course, k) => { course.short = summary(view.courses[k]); });
  }

  function summary(course) {
    if (!course) return "";
    const steps = Object.entries(course.steps).flatMap(([name, list]) => list.map((step) => `${name} ${step.value}${step.at ? ` at ${Crow.years(step.at)}` : ""}`));
    return steps.length ? steps.join(", ") : course.future === "carry" ? "as it is" : "own trend";
  }

  function facts() {
    const seen = view.shown.observed, constant = view.start.covariates.filter((one) => !one.changes);
    const known = constant.map((one) => [one.name, view.shown.covariates.values[one.name].filter((value) => value !== null).pop()]).filter((one) => one[1] !== undefined);
    const ages = seen.ages.filter((age) => age !== null);
    const parts = [...(Crow.saved ? [`Subject ${view.shown.subject}`] : []), `${seen.times.length} visit${seen.times.length === 1 ? "" : "s"}`];
    if (ages.length) parts.push(`age ${ages[0].toFixed(1)}${ages.length > 1 ? ` to ${ages[ages.length - 1].toFixed(1)}` : ""}`);
    $("facts").textContent = [...parts, ...known.map(([name, value]) => `${name} ${value}`)].join(" · ");
    $("save-table").hidden = !view.shown.table;
    mark();
  }

  function mark() {
    const end = view.shown.data_end, slider = $("horizon");
    const inside = end !== null && end > 0;
    $("horizon-note").textContent = end === null ? "" : inside ? `The training data end ${Crow.years(end)} after this subject's last visit.` : "This subject was followed as long as any in the training: all years ahead extrapolate.";
    const place = inside ? Math.min(1, (end - slider.min) / (slider.max - slider.min)) : 0;
    $("horizon-mark").style.setProperty("--place", place);
    $("horizon-mark").hidden = end === null;
  }

  function draw() {
    if (!view.answer) return;
    const box = $("fan");
    const width = Math.max(280, box.clientWidth);
    box.replaceChildren(Crow.fan(view, view.region, width, width < 480 ? 300 : 380, false));
    legend();
    reading();
    multiples();
    if (!view.start.scans) Crow.brain(view, pick);
    words();
    Crow.scan(view);
    if (!Crow.saved) Crow.timelines(view);
    $("speed").textContent = Crow.saved ? "" : `Answered in ${view.answer.milliseconds} ms, with ${view.start.draws} draws.`;
  }

  function legend() {
    const items = [["level", "level at a visit, 90 % and 50 %"], ...view.answer.courses.map((course, k) => ["ab"[k], `${"AB"[k]}: ${Crow.saved ? Crow.saved.courses[view.chosen[k]].label : course.short}`])];
    const bands = `bands of ${view.start.regions.find((one) => one.name === view.region).fan}: ${view.answer.courses.length === 2 ? "50 and 90 %" : "50, 80 and 90 %"}`;
    if (view.shown.reference && view.reference) items.push(["reference", `reference: ${view.shown.reference.label}, 50 and 90 %`]);
    $("legend").replaceChildren(...items.map(([name, text]) => Crow.html("li", { class: name }, text)), Crow.html("li", { class: "plain" }, bands));
    $("show-reference").parentElement.hidden = !view.shown.reference;
  }

  function reading() {
    const { answer, at, region } = view, scale = Crow.scaleOf(view, region), time = answer.times[at], age = answer.ages[at];
    $("at-text").textContent = Crow.years(time) + (age === null ? "" : `, age ${age.toFixed(1)}`);
    $("at").setAttribute("aria-valuetext", $("at-text").textContent);
    const rows = answer.courses.map((course, k) => {
      const own = course.bands[region][at];
      return Crow.html("p", { class: "ab"[k] }, Crow.html("strong", {}, `${"AB"[k]}  ${scale.text(own[3], own[6] - own[0])}`), ` (90 % ${scale.interval(own[0], own[6])})`);
    });
    if (answer.difference) {
      const text = Crow.differenceText(view, region, at);
      rows.push(Crow.html("p", { class: "difference", id: "difference" }, Crow.html("strong", {}, "B − A  "), `${text}, at ${Crow.years(time)}`));
    }
    $("reading").replaceChildren(...rows);
  }

  function multiples() {
    const wanted = view.filter.toLowerCase(), all = view.start.regions.filter((one) => one.name.toLowerCase().includes(wanted));
    const shown = view.all ? all : all.slice(0, SHOWN), box = $("multiples"), focused = document.activeElement && document.activeElement.dataset.region;
    const items = shown.map((one) => {
      const change = Crow.change(view, one.name);
      const item = Crow.html("button", { type: "button", onclick: () => pick(one.name) }, Crow.fan(view, one.name, 150, 84, true), Crow.html("span", { class: "name" }, one.short), Crow.html("span", { class: "soft" }, change === null ? "" : Crow.percent(change)));
      item.dataset.region = one.name;
      item.title = Crow.tooltip(view, one.name);
      item.setAttribute("aria-pressed", String(one.name === view.region));
      item.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step) { const next = step > 0 ? item.nextElementSibling : item.previousElementSibling; if (next) next.focus(); }
      });
      return item;
    });
    if (all.length > shown.length) items.push(Crow.html("button", { type: "button", class: "more", onclick: () => { view.all = true; multiples(); } }, `Show all ${all.length}`));
    $("multiples-title").textContent = `All ${view.start.scans ? "structures" : "regions"}: ${view.answer.difference ? "difference of B from A" : "change since the last visit"}` + `, at ${Crow.years(view.answer.times[view.at])}`;
    box.replaceChildren(...items);
    if (focused !== undefined) items.find((item) => item.dataset.region === focused)?.focus({ preventScroll: true });
  }

  function warning(line) {
    return Crow.html("p", { class: "warning" }, line.charAt(0).toUpperCase() + line.slice(1));
  }

  function words() {
    const shared = view.answer.courses[0].warnings.filter((line) => view.answer.courses.every((course) => course.warnings.includes(line)));
    const blocks = view.answer.courses.map((course, k) => {
      const { count, of, at, combination } = course.alike, none = count === 0;
      const alike = `${none ? "No subject" : count === 1 ? "1 subject" : `${count.toLocaleString("en")} subjects`} of ${of.toLocaleString("en")} in the cohort ${count <= 1 ? "resembles" : "resemble"} this at ${Crow.years(at)}${combination ? `: ${combination}` : ""}.`;
      return Crow.html("div", { class: "asked" }, Crow.html("p", {}, Crow.html("strong", { class: "ab"[k] }, `${"AB"[k]}  `), course.words),
        Crow.html("p", { class: `alike ${none ? "none" : count < 5 ? "few" : ""}` }, alike), ...course.warnings.filter((line) => !shared.includes(line)).map(warning));
    });
    const doubtful = [...shared, ...view.shown.doubtful].map(warning);
    const association = Crow.html("p", { class: "soft" }, "Forecasts are associations in the training data, not effects of an intervention. The difference of two courses uses the same random numbers in both: its interval has no measurement error.");
    $("words").replaceChildren(...blocks, ...doubtful, association);
    if (!view.start.scans || Crow.saved) view.showCommands(view.answer.courses.map((course, k) => [k, course.command]), view.start.scans ? "It writes the follow-up scans." : "It gives the same numbers.");
  }

  view.showCommands = function (each, note) {
    $("command-note").textContent = note;
    $("commands").replaceChildren(...each.filter((one) => one[1]).map(([k, text]) => {
      const code = Crow.html("code", {}, text);
      const copy = Crow.html("button", { type: "button", class: "small", onclick: () => copied(code, copy) }, "Copy");
      copy.setAttribute("aria-label", `Copy the command of course ${"AB"[k]}`);
      return Crow.html("div", { class: "command" }, Crow.html("p", { class: "row" }, Crow.html("strong", { class: "ab"[k] }, "AB"[k]), Crow.html("span", { class: "stretch" }), copy), code);
    }));
  };

  // The command is selected, too, for browsers that refuse the clipboard to a page.
  async function copied(code, button) {
    getSelection().selectAllChildren(code);
    await navigator.clipboard.writeText(code.textContent).then(() => { button.textContent = "Copied"; }, () => { button.textContent = "Selected"; });
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }

  function pick(region) {
    view.region = region;
    $("region").value = region;
    draw();
  }

  function edit(k) {
    view.editing = k;
    $("course-a").setAttribute("aria-pressed", String(k === 0));
    $("course-b").setAttribute("aria-pressed", String(k === 1));
    $("course-b").textContent = view.courses.length === 2 ? "Course B" : "Compare with B";
    $("drop-b").hidden = view.courses.length === 1;
    if (view.shown) Crow.editor(view, edited);
  }

  function controls() {
    const horizon = $("horizon");
    let later;
    horizon.addEventListener("input", () => {
      view.horizon = Number(horizon.value);
      $("horizon-text").textContent = Crow.years(view.horizon);
      forecast();
      clearTimeout(later);
      if (view.whose) later = setTimeout(() => { farther(); Crow.editor(view, edited); }, 250);
    });
    $("horizon-text").textContent = Crow.years(view.horizon);
    $("region").addEventListener("change", () => pick($("region").value));
    $("at").addEventListener("input", () => { view.at = Number($("at").value); view.scanAt = null; draw(); });
    $("show-reference").addEventListener("change", () => { view.reference = $("show-reference").checked; draw(); });
    $("filter").addEventListener("input", () => { view.filter = $("filter").value; multiples(); });
    $("course-a").addEventListener("click", () => edit(0));
    $("course-b").addEventListener("click", () => {
      if (view.courses.length === 1) view.courses.push(structuredClone(view.courses[0]));
      edit(1);
      forecast();
    });
    $("drop-b").addEventListener("click", () => { view.courses.length = 1; edit(0); forecast(); });
    for (const [id, save] of [["save-png", Crow.savePng], ["save-svg", Crow.saveSvg], ["save-csv", Crow.saveCsv]]) {
      $(id).addEventListener("click", () => { if (view.answer) save(view); });
    }
    $("save-table").addEventListener("click", () => Crow.download(view.shown.table.name, view.shown.table.text, "text/csv"));
    let width = 0;
    new ResizeObserver(() => { if (Math.abs($("fan").clientWidth - width) > 1) { width = $("fan").clientWidth; draw(); } }).observe($("fan"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  }

  async function begin() {
    try {
      view.start = await Crow.ask("start");
    } catch (error) {
      trouble(error);
      return;
    }
    const start = view.start;
    view.region = start.regions[0].name;
    document.title = `${start.run} · crow explore`;
    $("about").textContent = `${start.run} · ${start.cohort} · ${start.subjects.toLocaleString("en")} subjects, ${start.regions.length} ${start.scans ? "structures" : "regions"}`;
    if (start.scans) document.querySelector("#region-title label").textContent = "Structure";
    $("region").replaceChildren(...start.regions.map((one) => Crow.html("option", { value: one.name }, one.short)));
    $("filter").hidden = start.regions.length <= 9;
    controls();
    Crow.scanControls(view, draw);
    if (Crow.saved) {
      document.body.classList.add("saved");
      document.querySelector(".private").textContent = "A saved page of one subject. It contains data of this subject.";
      view.horizon = Crow.saved.horizon;
      view.chosen = Crow.saved.chosen;
      for (const id of ["course-a", "course-b"]) $(id).parentElement.hidden = true;
      await choose({ subject: Crow.saved.subject.subject });
      return;
    }
    Crow.chooser(view, choose);
    const first = (await Crow.ask("subjects", { text: "" })).subjects[0];
    if (start.first || first) { $("subject").value = start.first || first; await choose({ subject: start.first || first }); }
  }

  begin();
})();
