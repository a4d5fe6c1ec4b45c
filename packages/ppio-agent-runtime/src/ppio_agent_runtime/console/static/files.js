// Files from a button or dropped, as base64.

import { useState } from "preact/hooks";
import { html } from "./html.js";
import { t } from "./i18n.js";

/** Return a file's bytes as base64. */
export function toBase64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

/** Return the properties of an element that files may be dropped on. */
export function dropped(onFiles) {
  return {
    onDragOver: (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      event.stopPropagation();
      event.currentTarget.classList.add("drop");
    },
    onDragLeave: (event) => event.currentTarget.classList.remove("drop"),
    onDrop: (event) => {
      event.currentTarget.classList.remove("drop");
      if (!event.dataTransfer.files.length) return;
      event.preventDefault();
      event.stopPropagation();
      onFiles([...event.dataTransfer.files]);
    },
  };
}

/** A button that opens the dialog for files. */
export function FileButton({ onFiles, name, multiple = false }) {
  const [key, setKey] = useState(0);
  const take = (event) => {
    onFiles([...event.target.files]);
    setKey(key + 1); // so that the same file can be chosen again
  };
  const label = name ? t("file_for", { name }) : t("attach");
  return html`<label class="button quiet file" title=${label}><svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d="M13 7.5 8 12.6a3 3 0 0 1-4.3-4.3L9 3a2 2 0 0 1 2.9 2.9L6.7 11a1 1 0 0 1-1.4-1.4L10 5" fill="none" stroke="currentColor" stroke-width="1.2" /></svg>
    <input key=${key} type="file" class="hidden" multiple=${multiple} aria-label=${label} onChange=${take} /></label>`;
}
