// The chart as SVG and PNG, and the numbers of all regions as CSV.
"use strict";

(function () {
  Crow.download = function (name, content, type) {
    const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
    const link = Crow.html("a", { href: address, download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  };

  // A picture that is complete by itself: ground, title and legend included.
  Crow.picture = function (view) {
    const width = 900, height = 470, colour = Crow.colours();
    const root = Crow.fan(view, view.region, width, height - 60, false), all = Crow.svg("g", { transform: "translate(0 40)" });
    all.append(...root.childNodes);
    const name = view.whose.new ? "a new subject" : `subject ${view.whose.subject}`;
    root.append(
      Crow.svg("rect", { width, height, fill: colour.surface }),
      Crow.svg("text", { x: 62, y: 26, "font-size": 16, "font-weight": 600 }, `${view.region}, ${name}`), all,
    );
    view.answer.courses.forEach((course, k) => {
      const label = Crow.saved ? Crow.saved.courses[view.chosen[k]].label : course.short;
      root.append(Crow.svg("line", { x1: 62 + 330 * k, x2: 90 + 330 * k, y1: height - 14, y2: height - 14, stroke: k ? colour.b : colour.a, "stroke-width": 4 }));
      root.append(Crow.svg("text", { x: 97 + 330 * k, y: height - 10 }, `${"AB"[k]}: ${label}`.slice(0, 48)));
    });
    root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    root.setAttribute("height", height);
    root.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    return new XMLSerializer().serializeToString(root);
  };

  function base(view) {
    const plain = (text) => text.replace(/[^\w.+-]/g, "_").slice(0, 60);
    return `${plain(view.whose.new ? "new_subject" : view.whose.subject)}_${plain(view.region)}`;
  }

  Crow.saveSvg = (view) => Crow.download(`${base(view)}.svg`, Crow.picture(view), "image/svg+xml");

  Crow.savePng = function (view) {
    const image = new Image(), address = URL.createObjectURL(new Blob([Crow.picture(view)], { type: "image/svg+xml" }));
    image.onload = () => {
      const canvas = Crow.html("canvas", { width: image.width * 2, height: image.height * 2 });
      canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => Crow.download(`${base(view)}.png`, blob));
      URL.revokeObjectURL(address);
    };
    image.src = address;
  };

  // A cell that no spreadsheet takes for a formula or splits.
  function cell(value) {
    if (value === null || value === undefined) return "";
    const text = typeof value === "number" ? String(value) : /^[=+@\-\t\r]/.test(value) ? "'" + value : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  Crow.csv = function (view) {
    const answer = view.answer, shares = view.start.shares.map((share) => `q${String(Math.round(100 * share)).padStart(2, "0")}`);
    const lines = [["subject", "course", "region", "years_after_last_visit", "age", ...shares]];
    const add = (course, bands) => {
      for (const { name } of view.start.regions) answer.times.forEach((time, k) => lines.push([answer.subject, course, name, time, answer.ages[k], ...bands[name][k]]));
    };
    answer.courses.forEach((course, k) => add("AB"[k], course.bands));
    if (answer.difference) add("B - A", answer.difference);
    return lines.map((line) => line.map(cell).join(",")).join("\n") + "\n";
  };

  Crow.saveCsv = (view) => Crow.download(`${base(view)}.csv`, Crow.csv(view), "text/csv");
})();
