// The last scan, the follow-up at the chosen time, and the change between them.
"use strict";

(function () {
  const own = { asked: "", slice: null, planes: "three planes", course: 0, found: null };
  const $ = (id) => document.getElementById(id);
  const ask = Crow.latest((found, mark) => { own.found = found; trouble(""); show(mark.view, mark.time); }, (error) => { own.asked = ""; trouble(error.message); });

  function trouble(text) {
    $("scan-trouble").textContent = text;
    $("scan-trouble").hidden = !text;
  }

  // Asks for pictures if another subject, course, time or slice is shown than before.
  Crow.scan = function (view) {
    if (!view.start.scans || !view.answer) return;
    const two = view.answer.courses.length === 2, last = view.answer.times.length;
    if (!two) own.course = 0;
    $("scan-courses").hidden = !two;
    $("scan-a").setAttribute("aria-pressed", String(own.course === 0));
    $("scan-b").setAttribute("aria-pressed", String(own.course === 1));
    $("scan-at").max = last;
    $("scan-at").value = view.scanAt === 0 ? 0 : view.at + 1;
    const time = view.scanAt === 0 ? 0 : view.answer.times[view.at];
    $("scan-text").textContent = time ? Crow.years(time) : "last scan";
    $("scan-at").setAttribute("aria-valuetext", $("scan-text").textContent);
    const chosen = Crow.saved ? { chosen: view.chosen[own.course], at: time ? view.at : null } :
      { subject: view.whose.subject, course: view.asked(own.course), at: time, planes: own.planes, slice: own.slice };
    const text = JSON.stringify(chosen);
    if (text === own.asked) { if (own.found) commands(view); return; }
    if (chosen.subject !== own.subject) { own.slice = chosen.slice = null; own.subject = chosen.subject; }
    own.asked = text;
    ask("scan", chosen, { view, time });
  };

  function show(view, time) {
    const found = own.found, one = own.planes !== "three planes" && !Crow.saved;
    const place = one ? `${own.planes}, ${found.place}` : "in three planes";
    $("slice-row").hidden = !one;
    if (one) {
      $("slice").max = found.slices - 1;
      if (document.activeElement !== $("slice")) $("slice").value = found.slice;
      $("slice-text").textContent = found.place;
      $("slice").setAttribute("aria-valuetext", found.place);
    }
    const when = time ? `${Crow.years(time)} after it` : "at the same time";
    const parts = [picture("Last scan", found.last, place), picture("Follow-up (median)", found.follow_up, `${when}, ${place}`), bar(found.grey, "intensity"), picture("Change", found.change, `${when}, ${place}`), bar(found.signed, "change of the intensity")];
    $("scan").replaceChildren(...parts, Crow.html("p", { class: "soft tiny" }, `${view.start.scans.modality}, on the template's grid of ${view.start.scans.voxels}, in the units of the scan. L is the subject's left.`));
    commands(view);
  }

  function picture(name, address, where) {
    return Crow.html("figure", { class: "slices" }, Crow.html("figcaption", {}, name), Crow.html("img", { src: address, alt: `${name}, ${where}` }));
  }

  function bar(ends, what) {
    const width = ends.high - ends.low;
    return Crow.html("div", { class: "scale" }, Crow.html("span", {}, Crow.number(ends.low, width)), Crow.html("img", { class: "bar", src: ends.bar, alt: "" }), Crow.html("span", {}, Crow.number(ends.high, width)), Crow.html("span", { class: "what" }, what));
  }

  // The command that writes the scan which is shown.
  function commands(view) {
    if (!Crow.saved && own.found) view.showCommands([[own.course, own.found.command]], own.found.command ? "It writes this follow-up scan." : "The last scan is observed: choose a later time.");
  }

  Crow.scanControls = function (view, draw) {
    const scans = view.start.scans;
    $("scan-card").hidden = !scans;
    $("brain-card").hidden = Boolean(scans);
    document.body.classList.toggle("scans", Boolean(scans));
    if (!scans) return;
    $("planes").replaceChildren(...scans.planes.map((name) => Crow.html("option", { value: name }, name)));
    $("planes").addEventListener("change", () => { own.planes = $("planes").value; own.slice = null; Crow.scan(view); });
    $("slice").addEventListener("input", () => { own.slice = Number($("slice").value); Crow.scan(view); });
    $("scan-at").addEventListener("input", () => {
      const k = Number($("scan-at").value);
      view.scanAt = k === 0 ? 0 : null;
      if (k) view.at = k - 1;
      $("at").value = view.at;
      draw();
    });
    for (const [k, id] of [[0, "scan-a"], [1, "scan-b"]]) $(id).addEventListener("click", () => { own.course = k; Crow.scan(view); });
  };
})();
