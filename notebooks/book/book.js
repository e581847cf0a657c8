/* What scrolls inside itself can be reached, and scrolled, from the keyboard. */
(() => {
  "use strict";
  const wide = ".bd-article table, .bd-article div.math, .bd-article .cell_output .output, .bd-article .highlight pre";

  function reach() {
    for (const element of document.querySelectorAll(wide)) {
      if (element.scrollWidth > element.clientWidth) element.tabIndex = 0;
      else element.removeAttribute("tabindex");
    }
  }
  window.addEventListener("load", reach);
  window.addEventListener("resize", reach);
})();
