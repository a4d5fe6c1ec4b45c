// Colours of terminals (ANSI, SGR) as parts of text; every other escape is left out.

const COLOURS = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];

/** Return `[{text, className}]`. */
export function parts(text) {
  const found = [];
  let style = {};
  let at = 0;
  const add = (part) => {
    if (part) found.push({ text: part, className: Object.values(style).join(" ") });
  };
  for (const match of text.matchAll(/\u001b(?:\[([\d;]*)([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|.)/g)) {
    add(text.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[2] === "m") style = styled(style, match[1].split(";").map(Number));
  }
  add(text.slice(at));
  return found;
}

function styled(before, codes) {
  let style = { ...before };
  for (let index = 0; index < codes.length; index++) {
    const code = codes[index];
    if (code === 0) style = {};
    else if (code === 1) style.weight = "ansi-bold";
    else if (code === 2) style.weight = "ansi-dim";
    else if (code === 22) delete style.weight;
    else if (code >= 30 && code <= 37) style.colour = `ansi-${COLOURS[code - 30]}`;
    else if (code >= 90 && code <= 97) style.colour = `ansi-${COLOURS[code - 90]}`;
    else if (code === 39) delete style.colour;
    else if (code === 38 || code === 48) index += codes[index + 1] === 2 ? 4 : 2;
  }
  return style;
}
