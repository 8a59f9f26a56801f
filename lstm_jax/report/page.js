"use strict";
// Charts: a pointer or the arrow keys show the values that are nearest.
for (const figure of document.querySelectorAll("figure.chart")) {
  const data = JSON.parse(figure.querySelector("script").textContent);
  const svg = figure.querySelector(".picture svg");
  const cursor = svg.querySelector(".cursor");
  const tip = figure.querySelector(".tip");
  const width = svg.viewBox.baseVal.width;
  const nearest = (line, at) => line.px.reduce(
    (best, x, n) => Math.abs(x - at) < Math.abs(line.px[best] - at) ? n : best, 0);
  const places = [...new Set(data.lines.flatMap((line) => line.px))].sort((a, b) => a - b);
  let place = -1;
  const show = (at) => {
    const lines = data.lines.filter((line) => line.px.length);
    if (!lines.length) return;
    const all = lines.map((line) => [line, nearest(line, at)]);
    const [first, n] = all.reduce((a, b) =>
      Math.abs(b[0].px[b[1]] - at) < Math.abs(a[0].px[a[1]] - at) ? b : a);
    const x = first.px[n];
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.style.visibility = tip.style.visibility = "visible";
    const said = all.filter(([line, k]) => line.py[k] !== null && Math.abs(line.px[k] - x) < 6)
      .map(([line, k]) => `${line.name}: ${line.y[k]}`);
    tip.textContent = [`${data.x} ${first.x[n]}`, ...said].join("\n");
    const right = x > width / 2;
    tip.style.left = right ? "auto" : `${100 * x / width + 2}%`;
    tip.style.right = right ? `${100 - 100 * x / width + 2}%` : "auto";
  };
  const hide = () => { cursor.style.visibility = tip.style.visibility = "hidden"; };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    show((event.clientX - box.left) / box.width * width);
  });
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("blur", hide);
  svg.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -places.length, End: places.length };
    if (!(event.key in steps)) return;
    event.preventDefault();
    place = Math.min(Math.max(place + steps[event.key], 0), places.length - 1);
    show(places[place]);
  });
}
// Coloured text: the reader chooses the unit.
for (const block of document.querySelectorAll(".colored")) {
  const levels = JSON.parse(block.dataset.levels);
  const spans = block.querySelectorAll("pre span");
  block.querySelector("select").addEventListener("change", (event) => {
    const chosen = levels[event.target.selectedIndex];
    spans.forEach((span, n) => { span.className = chosen[n]; });
  });
}
