/** The chart and its legend as one picture. */

/** Draw the words of an element where they stand over `under`, which is what the canvas shows. */
export function drawWords(canvas: HTMLCanvasElement, element: Element, under: Element): void {
  const context = canvas.getContext("2d");
  if (!context) return;
  const origin = under.getBoundingClientRect();
  const ratio = canvas.width / origin.width;
  context.save();
  context.scale(ratio, ratio);
  context.textBaseline = "middle";
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const style = getComputedStyle(node.parentElement ?? element);
    context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    context.fillStyle = style.color;
    for (const { text, box } of wordsOf(node)) {
      context.fillText(text, box.left - origin.left, box.top - origin.top + box.height / 2);
    }
  }
  context.restore();
}

/** Each word by itself, for a text may go on in the next line. */
function wordsOf(node: Node): { text: string; box: DOMRect }[] {
  return [...(node.textContent ?? "").matchAll(/\S+/g)].map(({ 0: text, index }) => {
    const range = document.createRange();
    range.setStart(node, index);
    range.setEnd(node, index + text.length);
    return { text, box: range.getBoundingClientRect() };
  });
}
