// Elements of HTML and SVG. Text becomes text nodes only, so that no name of a subject or region is read as markup.
"use strict";

Crow.html = function (name, properties, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties || {})) {
    if (key === "class") made.className = value;
    else if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key in made && key !== "list") made[key] = value;
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
};

Crow.svg = function (name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes || {})) made.setAttribute(key, value);
  made.append(...children);
  return made;
};

// The colours of the page as it looks now: charts carry them as attributes, so that a saved picture is complete.
Crow.colours = function () {
  const style = getComputedStyle(document.documentElement), found = {};
  for (const name of ["ink", "soft", "line", "ground", "surface", "tint", "a", "b", "reference", "beyond", "low", "mid", "high"]) {
    found[name] = style.getPropertyValue("--" + name).trim();
  }
  return found;
};

// A closed path between two lines of points.
Crow.band = function (points) {
  const upper = points.map(([x, , high]) => x.toFixed(1) + "," + high.toFixed(1));
  const lower = points.map(([x, low]) => x.toFixed(1) + "," + low.toFixed(1)).reverse();
  return "M" + upper.concat(lower).join("L") + "Z";
};

Crow.line = function (points) {
  return "M" + points.map(([x, y]) => x.toFixed(1) + "," + y.toFixed(1)).join("L");
};
