// DOMPurify, in one place: nothing of an agent becomes nodes in another way, unless it is text.

import "dompurify"; // a script that sets a global

const purify = globalThis.DOMPurify;

/** The images that may be shown: in the text itself, and of pixels. */
export const DATA_IMAGE = /^data:image\/(png|jpeg|gif|webp|avif);base64,[\w+/=]+$/i;

const MARKDOWN = {
  USE_PROFILES: { html: true },
  FORBID_TAGS: ["style", "form", "input", "button", "textarea", "select", "video", "audio", "source", "picture", "dialog"],
  FORBID_ATTR: ["id", "name", "class", "style", "srcset", "background"],
  ALLOW_DATA_ATTR: false,
  ALLOW_ARIA_ATTR: false,
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
  RETURN_DOM_FRAGMENT: true,
};
const COLOURS = { ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"], RETURN_DOM_FRAGMENT: true };

purify.addHook("uponSanitizeAttribute", (_, data) => {
  if (data.attrName === "src") data.forceKeepAttr = data.keepAttr = DATA_IMAGE.test(data.attrValue);
});

/** Return the fragment of HTML that marked made. */
export const fromMarkdown = (markup) => purify.sanitize(markup, MARKDOWN);

/** Return the fragment of HTML that highlight.js made. */
export const fromHighlighter = (markup) => purify.sanitize(markup, COLOURS);
