// Whose future: a searchable list of the cohort's subjects, or a form for a new one.
"use strict";

(function () {
  Crow.chooser = function (view, chosen) {
    const tabs = [document.getElementById("tab-known"), document.getElementById("tab-new")];
    const panels = [document.getElementById("known"), document.getElementById("new")];
    tabs.forEach((tab, k) => {
      tab.addEventListener("click", () => show(k));
      tab.addEventListener("keydown", (event) => {
        if (event.key === "ArrowLeft" || event.key === "ArrowRight") { show(1 - k); tabs[1 - k].focus(); }
      });
    });
    function show(k) {
      tabs.forEach((tab, n) => { tab.setAttribute("aria-selected", String(n === k)); tab.tabIndex = n === k ? 0 : -1; panels[n].hidden = n !== k; });
    }
    panels[0].replaceChildren(...combobox(chosen));
    if (view.start.scans) { tabs[0].parentElement.hidden = true; return; } // a scan cannot be typed
    form(view, panels[1], chosen);
  };

  function combobox(chosen) {
    let found = [], active = -1;
    const list = Crow.html("ul", { id: "subjects", role: "listbox", hidden: true });
    list.setAttribute("aria-label", "Subjects");
    const box = Crow.html("input", { type: "text", id: "subject", role: "combobox", autocomplete: "off", spellcheck: false, placeholder: "Search for a subject" });
    for (const [key, value] of [["aria-expanded", "false"], ["aria-controls", "subjects"], ["aria-autocomplete", "list"], ["aria-label", "Search for a subject"]]) box.setAttribute(key, value);
    const search = Crow.latest((answer) => { found = answer.subjects; active = found.length ? 0 : -1; draw(answer.more); }, () => close());
    box.addEventListener("input", () => search("subjects", { text: box.value }));
    box.addEventListener("focus", () => { box.select(); search("subjects", { text: "" }); });
    box.addEventListener("blur", () => setTimeout(close, 150));
    box.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (list.hidden) { search("subjects", { text: box.value }); return; }
        active = (active + (event.key === "ArrowDown" ? 1 : -1) + found.length) % Math.max(1, found.length);
        mark();
      } else if (event.key === "Enter" && !list.hidden && active >= 0) { event.preventDefault(); take(found[active]); }
      else if (event.key === "Escape") close();
    });
    function draw(more) {
      list.replaceChildren(...found.map((name, k) => {
        const item = Crow.html("li", { id: `subject-${k}`, role: "option" }, name);
        item.addEventListener("mousedown", (event) => { event.preventDefault(); take(name); });
        return item;
      }));
      if (!found.length) list.append(Crow.html("li", { class: "soft" }, "No subject has this name."));
      if (more) list.append(Crow.html("li", { class: "soft" }, `and ${more.toLocaleString("en")} more`));
      list.hidden = document.activeElement !== box;
      box.setAttribute("aria-expanded", String(!list.hidden));
      mark();
    }
    function mark() {
      [...list.children].forEach((item, k) => { item.setAttribute("aria-selected", String(k === active)); if (k === active) item.scrollIntoView({ block: "nearest" }); });
      if (active >= 0) box.setAttribute("aria-activedescendant", `subject-${active}`);
    }
    function close() { list.hidden = true; box.setAttribute("aria-expanded", "false"); }
    function take(name) { box.value = name; close(); chosen({ subject: name }); }
    return [box, list];
  }

  function form(view, box, chosen) {
    const constant = view.start.covariates.filter((one) => !one.changes), changing = view.start.covariates.filter((one) => one.changes);
    const visits = [];
    const age = Crow.html("input", { type: "number", step: "any", min: 0, max: 120, name: "age" });
    const fixed = constant.map((one) => [one, cell(one)]);
    const list = Crow.html("div", {}), more = Crow.html("button", { type: "button", class: "small", onclick: () => add() }, "Another visit");
    const trouble = Crow.html("p", { class: "trouble", role: "alert", hidden: true });
    box.replaceChildren(
      view.start.has_age ? labelled("Age at the first visit", age) : "", ...fixed.map(([one, input]) => labelled(one.name, input)), list,
      Crow.html("div", { class: "row" }, more, Crow.html("span", { class: "stretch" }), Crow.html("button", { type: "submit", class: "primary" }, "Forecast")), trouble,
    );
    add();
    box.addEventListener("submit", (event) => {
      event.preventDefault();
      trouble.hidden = true;
      const typed = (pairs) => Object.fromEntries(pairs.map(([one, input]) => [one.name, input.value]).filter((one) => one[1] !== ""));
      chosen({ new: {
        age: age.value, covariates: typed(fixed),
        visits: visits.map((visit) => ({ time: Number(visit.time.value || 0), covariates: typed(visit.covariates), regions: typed(visit.regions) })),
      } }, (error) => { trouble.textContent = error.message; trouble.hidden = false; });
    });

    function add() {
      const k = visits.length, time = Crow.html("input", { type: "number", step: "any", min: 0, value: String(k), disabled: k === 0 });
      const visit = { time, covariates: changing.map((one) => [one, cell(one)]), regions: view.start.regions.map((one, d) => [one, region(view.start.typical[d])]) };
      visits.push(visit);
      const regions = Crow.html("details", { open: view.start.regions.length <= 12 }, Crow.html("summary", {}, "Regions"), ...visit.regions.map(([one, input]) => labelled(one.short, input)));
      const group = Crow.html("fieldset", { class: "visit" }, Crow.html("legend", {}, `Visit ${k + 1}`), k ? labelled("Years after the first", time) : "", ...visit.covariates.map(([one, input]) => labelled(one.name, input)), regions);
      if (k) group.append(Crow.html("button", { type: "button", class: "small", onclick: () => { visits.splice(visits.indexOf(visit), 1); group.remove(); more.hidden = false; } }, "Remove this visit"));
      list.append(group);
      more.hidden = visits.length >= 4;
    }

    function cell(one) {
      if (one.numeric) return Crow.html("input", { type: "number", step: "any" });
      return Crow.html("select", {}, Crow.html("option", { value: "" }, "not known"), ...one.levels.map((level) => Crow.html("option", { value: level }, level)));
    }

    function region(typical) {
      return Crow.html("input", { type: "number", step: "any", placeholder: typical === null || typical === undefined ? "" : String(Number(typical.toPrecision(3))) });
    }

    function labelled(text, input) {
      return Crow.html("label", { class: "cell" }, Crow.html("span", {}, text), input);
    }
  }
})();
