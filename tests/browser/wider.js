// Returns what reaches beyond the screen without a box around it that scrolls; also texts that a box cuts off there.
// innerWidth of a phone grows with the content.
const width = document.documentElement.clientWidth;
const kept = (node) => {
  for (let each = node.parentElement; each; each = each.parentElement) {
    if (["auto", "scroll"].includes(getComputedStyle(each).overflowX)) return true;
  }
  return node.parentElement.closest(".unseen, .skip");
};
const right = (node) => {
  const range = document.createRange();
  range.selectNodeContents(node);
  return Math.ceil(range.getBoundingClientRect().right - 0.5);
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
for (let each = texts.nextNode(); each; each = texts.nextNode()) {
  if (each.data.trim() && right(each) > width && !kept(each)) found.push(`${each.parentElement.tagName} ${right(each)}: ${each.data.trim().slice(0, 30)}`);
}
const page = document.documentElement.scrollWidth;
return page > width ? [`the page: ${page}`, ...found] : found;
