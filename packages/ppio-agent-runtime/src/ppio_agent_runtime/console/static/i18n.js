// The words of the page, in the browser's language: English or Chinese.

import en from "./words/en.js";
import zh from "./words/zh.js";

const wanted = (navigator.languages ?? ["en"]).find((each) => /^(en|zh)\b/i.test(each)) ?? "en";

export const language = wanted;
const words = /^zh/i.test(wanted) ? zh : en;
document.documentElement.lang = words === zh ? "zh-CN" : "en";

/** Return the text of a key, with what its `{names}` stand for. */
export function t(key, values = {}) {
  const text = words[key] ?? en[key];
  if (text === undefined) throw new Error(`There is no word for ${key}.`);
  return text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");
}
