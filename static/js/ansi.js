// Console text with ANSI colours as elements: colours, bold, dim, italic, underline and inverse are understood, the rest
// of the control sequences is left out. Text goes into text nodes only.

// eslint-disable-next-line no-control-regex
const SEQUENCE = /\u001b\[([0-9;:]*)m|\u001b\[[0-?]*[ -/]*[@-~]|\u001b\][^\u0007\u001b]*(?:\u0007|\u001b\\)|\u001b[@-Z\\-_]|[\u0000-\u0008\u000b-\u001f\u007f]/g;
const STYLES = { 1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse" };
const ENDS = { 22: ["bold", "dim"], 23: ["italic"], 24: ["underline"], 27: ["inverse"] };

// The nearest of the eight colours and their bright ones (8 to 15), of a cube, a grey or red, green and blue.
function nearest(red, green, blue) {
  const most = Math.max(red, green, blue);
  if (most < 64) return 8;
  const bits = [red, green, blue].map((part) => (part > most * 0.6 ? 1 : 0));
  return bits[0] + 2 * bits[1] + 4 * bits[2] + (most > 190 ? 8 : 0);
}

function fromPalette(index) {
  if (index < 16) return index;
  if (index > 231) return nearest(...Array(3).fill(8 + (index - 232) * 10));
  const cube = index - 16;
  return nearest(...[Math.floor(cube / 36), Math.floor(cube / 6) % 6, cube % 6].map((part) => part * 51));
}

function apply(state, codes) {
  const parts = codes.split(/[;:]/).map(Number);
  for (let index = 0; index < parts.length; index += 1) {
    const code = parts[index];
    if (code === 0) Object.assign(state, freshState());
    else if (STYLES[code]) state.styles.add(STYLES[code]);
    else if (ENDS[code]) ENDS[code].forEach((name) => state.styles.delete(name));
    else if (code >= 30 && code <= 37) state.colour = code - 30;
    else if (code >= 40 && code <= 47) state.ground = code - 40;
    else if (code >= 90 && code <= 97) state.colour = code - 82;
    else if (code >= 100 && code <= 107) state.ground = code - 92;
    else if (code === 39) state.colour = null;
    else if (code === 49) state.ground = null;
    else if (code === 38 || code === 48) {
      const isPalette = parts[index + 1] === 5;
      const found = isPalette ? fromPalette(parts[index + 2] || 0) : nearest(...parts.slice(index + 2, index + 5).map((n) => n || 0));
      state[code === 38 ? "colour" : "ground"] = found;
      index += isPalette ? 2 : 4;
    }
  }
}

export function freshState() {
  return { styles: new Set(), colour: null, ground: null };
}

// The text as a fragment; `state` goes on from one piece to the next.
export function render(text, state = freshState()) {
  const fragment = document.createDocumentFragment();
  const add = (piece) => {
    if (!piece) return;
    const classes = [...state.styles].map((name) => `ansi-${name}`);
    if (state.colour !== null) classes.push(`ansi-${state.colour}`);
    if (state.ground !== null) classes.push(`ansi-on-${state.ground % 8}`);
    if (!classes.length) {
      fragment.append(piece);
      return;
    }
    const span = document.createElement("span");
    span.className = classes.join(" ");
    span.textContent = piece;
    fragment.append(span);
  };
  let from = 0;
  for (const found of text.matchAll(SEQUENCE)) {
    add(text.slice(from, found.index));
    if (found[1] !== undefined) apply(state, found[1]);
    from = found.index + found[0].length;
  }
  add(text.slice(from));
  return fragment;
}
