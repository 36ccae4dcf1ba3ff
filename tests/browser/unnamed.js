// Returns what a screen reader cannot announce: graphics without a name, tables without headers, duplicate ids.
const named = (svg) => svg.closest("[aria-hidden]") || svg.getAttribute("aria-label") || svg.querySelector("title");
const ids = [...document.querySelectorAll("[id]")].map((each) => each.id);
return [
  ...[...document.querySelectorAll("svg")].filter((svg) => !named(svg)).map((svg) => svg.outerHTML.slice(0, 60)),
  ...[...document.querySelectorAll("table")].filter((table) => !table.querySelector("th[scope=col]")).map((table) => table.id || "table"),
  ...ids.filter((id, number) => ids.indexOf(id) !== number),
];
