
"use strict";
// Two overlaid pictures: the slider sets how much of the first one is visible, from the left.
for (const figure of document.querySelectorAll("figure.compare")) {
  const slider = figure.querySelector("input[type=range]");
  const layers = [...figure.querySelectorAll(".layer")];
  const choices = [...figure.querySelectorAll("input[type=radio]")];
  const show = () => {
    const chosen = choices.find((choice) => choice.checked);
    const [left, right] = chosen ? chosen.value.split(",").map(Number) : [0, 1];
    layers.forEach((layer, k) => {
      layer.className = "layer " + (k === left ? "before" : k === right ? "after" : "off");
    });
    figure.style.setProperty("--at", slider.value + "%");
    slider.setAttribute("aria-valuetext",
      `${slider.value} % ${layers[left].dataset.name}, ${100 - slider.value} % ${layers[right].dataset.name}`);
  };
  slider.addEventListener("input", show);
  for (const choice of choices) choice.addEventListener("change", show);
  show();
}
// The contents are open beside the page, and folded above it on narrow screens.
const contents = document.querySelector("nav details");
const wide = matchMedia("(min-width: 64rem)");
let printing = false;
const fold = () => { if (!printing) contents.open = wide.matches; };
wide.addEventListener("change", fold);
fold();
contents.addEventListener("click", (event) => {
  if (event.target.closest("a") && !wide.matches) contents.open = false;
});
// Elements wider than the page can be focused and scrolled with the keys; others are no tab stops.
const scrollers = [...document.querySelectorAll(".scroll")];
const makeScrollable = () => {
  for (const one of scrollers) {
    if (one.scrollWidth > one.clientWidth + 1) {
      one.tabIndex = 0;
      one.setAttribute("role", "region");
      one.setAttribute("aria-label", one.dataset.name);
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) one.removeAttribute(name);
    }
  }
};
addEventListener("load", makeScrollable);
addEventListener("resize", makeScrollable);
// Mark the current section in the contents.
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const observer = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(entry.target.id)?.setAttribute("aria-current", "true");
  }
}, { rootMargin: "-10% 0px -80% 0px" });
for (const section of document.querySelectorAll("main > section")) observer.observe(section);
// Folded details are printed as well.
let opened = [];
addEventListener("beforeprint", () => {
  printing = true;
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const details of opened) details.open = true;
});
addEventListener("afterprint", () => {
  printing = false;
  for (const details of opened) details.open = false;
});
// The meaning of a term opens beside it.
for (const button of document.querySelectorAll("button.term")) {
  button.addEventListener("click", () => {
    const meaning = document.getElementById(button.getAttribute("popovertarget")), box = button.getBoundingClientRect();
    meaning.style.left = `${Math.max(8, Math.min(box.left, innerWidth - 336))}px`;
    meaning.style.top = `${box.bottom + 140 > innerHeight ? Math.max(8, box.top - 140) : box.bottom + 6}px`;
  });
}
