"use strict";
// Details that hold what a link leads to are opened; long tables can be filtered; print opens all.
(function () {
  function reveal() {
    var target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    var inner = target.querySelector("details");
    if (inner && target.matches("article")) inner.open = true;
    for (var node = target; node; node = node.parentElement) {
      if (node.matches("details")) node.open = true;
    }
    target.scrollIntoView();
  }
  window.addEventListener("hashchange", reveal);
  reveal();

  document.querySelectorAll("input[data-filters]").forEach(function (input) {
    var rows = document.getElementById(input.dataset.filters).tBodies[0].rows;
    var told = document.getElementById(input.dataset.filters + "-told");
    input.addEventListener("input", function () {
      var wanted = input.value.trim().toLowerCase(), shown = 0;
      for (var i = 0; i < rows.length; i++) {
        var fits = rows[i].cells[1].textContent.toLowerCase().indexOf(wanted) >= 0;
        rows[i].hidden = !fits;
        if (fits) shown += 1;
      }
      told.textContent = shown.toLocaleString("en") + " shown";
    });
  });

  // What is cut off at the side can be scrolled by keyboard as well.
  function reach() {
    document.querySelectorAll(".scroll").forEach(function (box) {
      if (box.scrollWidth > box.clientWidth + 1) {
        box.tabIndex = 0;
        if (!box.hasAttribute("role")) {
          box.setAttribute("role", "region");
          box.setAttribute("aria-label", "Table, wider than the page");
        }
      } else if (!box.matches(".tall")) {
        box.removeAttribute("tabindex");
      }
    });
  }
  window.addEventListener("resize", reach);
  reach();

  var opened = [];
  window.addEventListener("beforeprint", function () {
    opened = Array.prototype.filter.call(
      document.querySelectorAll("details[data-print]"), function (one) { return !one.open; });
    opened.forEach(function (one) { one.open = true; });
  });
  window.addEventListener("afterprint", function () {
    opened.forEach(function (one) { one.open = false; });
  });
})();
