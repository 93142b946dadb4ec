"use strict";
// While `--watch` serves the page: ask for its version, and load it again when that has changed.
const shown = document.documentElement.dataset.version;
setInterval(async () => {
  try {
    const answer = await fetch("version", { cache: "no-store" });
    if (answer.ok && (await answer.text()) !== shown) location.reload();
  } catch { /* the server has ended: the page stays */ }
}, 3000);
