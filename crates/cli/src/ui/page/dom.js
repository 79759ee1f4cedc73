// Elements. Texts of the cluster become text nodes and never markup.

const SVG = "http://www.w3.org/2000/svg";

/** Creates an element with properties and children; strings become texts. */
export function element(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** Creates an element of a picture. */
export function shape(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Returns the element with this id. */
export const byId = (id) => document.getElementById(id);

/** Sets a text if it differs, so that nothing is drawn or read out again for nothing. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
